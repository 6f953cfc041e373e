// Interactive charts in place of the server's drawings, from the same data.

const POINTS_MAX = 600;

const SCALES = {
  count: [1e3, ["", "k", "M", "G", "T"]],
  "per-second": [1e3, ["/s", "k/s", "M/s", "G/s", "T/s"]],
  bytes: [1024, [" B", " KiB", " MiB", " GiB", " TiB"]],
  bits: [1e3, [" b/s", " kb/s", " Mb/s", " Gb/s", " Tb/s"]],
  ms: [1e3, [" ms", " s"]],
};

export function write(unit, value) {
  if (value == null) return "–";
  if (unit === "share") return `${Math.round(value * 1000) / 10} %`;
  const [base, units] = SCALES[unit] ?? SCALES.count;
  let step = 0;
  while (Math.abs(value) >= base && step + 1 < units.length) {
    value /= base;
    step += 1;
  }
  return `${Math.round(value * 10) / 10}${units[step]}`;
}

export function startCharts(uPlot) {
  const charts = new Map();
  for (const area of document.querySelectorAll("[data-chart]")) {
    const data = JSON.parse(area.dataset.chart);
    const chart = draw(uPlot, area, data);
    if (area.dataset.liveChart) charts.set(area.dataset.liveChart, chart);
  }
  return charts;
}

function draw(uPlot, area, data) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--text-soft"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
    font: "12px system-ui",
  };
  const options = {
    width: area.clientWidth,
    height: 220,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Asia/Taipei"),
    cursor: { y: false, points: { size: 7 } },
    legend: { live: true },
    scales: { y: { range: (_, __, high) => [0, data.unit === "share" ? 1 : high > 0 ? high * 1.1 : 1] } },
    axes: [
      { ...axis, values: (_, moments) => moments.map((at) => at == null ? "" : clock(at, data.times)) },
      { ...axis, size: 72, values: (_, values) => values.map((value) => write(data.unit, value)) },
    ],
    series: [
      { label: document.documentElement.dataset.textTime ?? "", value: (_, at) => (at == null ? "–" : moment(at)) },
      ...data.series.map((series, i) => ({
        label: series.label,
        stroke: colour(`--series-${i}`),
        fill: data.filled && i === 0 ? colour("--series-0-area") : undefined,
        width: 2,
        dash: [[], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 4]][i],
        points: { show: false },
        value: (_, value) => write(data.unit, value),
      })),
    ],
  };
  const values = [data.times, ...data.series.map((series) => series.values)];
  const drawing = area.querySelector("svg");
  const plot = new uPlot(options, values, area);
  if (drawing) drawing.remove();
  new ResizeObserver(() => {
    if (area.clientWidth > 0 && area.clientWidth !== plot.width) {
      plot.setSize({ width: area.clientWidth, height: 220 });
    }
  }).observe(area);
  return {
    add(at, points) {
      const times = values[0];
      if (times.length && at <= times[times.length - 1]) return;
      times.push(at);
      for (let i = 1; i < values.length; i++) values[i].push(points[i - 1] ?? null);
      const oldest = data.span ? at - data.span : -Infinity;
      while (times.length > POINTS_MAX || times[0] < oldest) for (const column of values) column.shift();
      plot.setData(values);
    },
  };
}

const zone = { timeZone: "Asia/Taipei", hour12: false };
const HOURS = new Intl.DateTimeFormat("en-GB", { ...zone, hour: "2-digit", minute: "2-digit" });
const SECONDS = new Intl.DateTimeFormat("en-GB", { ...zone, hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAYS = new Intl.DateTimeFormat("en-GB", { ...zone, month: "2-digit", day: "2-digit" });

function clock(at, times) {
  const span = times.length ? times[times.length - 1] - times[0] : 0;
  const date = new Date(at * 1000);
  if (span > 36 * 3600) return DAYS.format(date);
  return (span < 600 ? SECONDS : HOURS).format(date);
}

function moment(at) {
  const date = new Date(at * 1000);
  return `${DAYS.format(date)} ${SECONDS.format(date)} +08`;
}
