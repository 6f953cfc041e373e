//! The sites' content: real files of several kinds and sizes, made once, kept in the
//! data directory where a user may change them and see the change arrive.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Makes the content of site `slug` under `dir`, unless it is there already.
///
/// # Errors
/// When the directory or a file cannot be written.
pub fn make(dir: &Path, slug: &str, name_zh: &str, name_en: &str) -> std::io::Result<()> {
    if dir.join("index.html").exists() {
        return Ok(());
    }
    for folder in ["static", "news", "data", "media", "books"] {
        std::fs::create_dir_all(dir.join(folder))?;
    }
    std::fs::write(dir.join("static/site.css"), css())?;
    std::fs::write(
        dir.join("static/site.js"),
        "document.querySelector('time').title = new Date().toISOString();\n",
    )?;
    std::fs::write(dir.join("static/logo.svg"), logo(slug))?;
    std::fs::write(
        dir.join("robots.txt"),
        "User-agent: *\nAllow: /\nSitemap: /sitemap.xml\n",
    )?;
    let mut links = String::new();
    let mut map = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n",
    );
    for n in 1..=40 {
        let path = format!("news/{n}.html");
        let body: String = (0..n % 7 + 2)
            .map(|p| {
                format!(
                    "<p>第 {n} 則消息，第 {} 段。Item {n}, paragraph {}.</p>\n",
                    p + 1,
                    p + 1
                )
            })
            .collect();
        std::fs::write(
            dir.join(&path),
            page(
                name_zh,
                name_en,
                &format!("<h1>消息 {n} · News {n}</h1>\n{body}"),
            ),
        )?;
        writeln!(
            links,
            "<li><a href=\"/{path}\">消息 {n} · News {n}</a></li>"
        )
        .map_err(std::io::Error::other)?;
        writeln!(
            map,
            "  <url><loc>http://www.{slug}.gov.test/{path}</loc></url>"
        )
        .map_err(std::io::Error::other)?;
    }
    map.push_str("</urlset>\n");
    std::fs::write(dir.join("sitemap.xml"), map)?;
    std::fs::write(
        dir.join("index.html"),
        page(
            name_zh,
            name_en,
            &format!(
                "<h1>{name_zh}</h1><p lang=\"en\">{name_en}</p>\n<h2>最新消息 · News</h2>\n<ul>{links}</ul>\n<p><a href=\"/data/stations.csv\">開放資料 · Open data</a> · <a href=\"/media/film.bin\">影片 · Film</a></p>"
            ),
        ),
    )?;
    let mut csv = String::from("station,month,rain_mm,temperature_c\n");
    for row in 0..20_000u32 {
        let mix = row.wrapping_mul(2_654_435_761);
        writeln!(
            csv,
            "{:05},{},{:.1},{:.1}",
            row / 12,
            row % 12 + 1,
            f64::from(mix % 4_000) / 10.0,
            f64::from(mix >> 8 & 0xff) / 10.0 + 8.0
        )
        .map_err(std::io::Error::other)?;
    }
    std::fs::write(dir.join("data/stations.csv"), csv)?;
    std::fs::write(dir.join("data/summary.json"), serde_json::json!({ "site": slug, "name": { "zh-TW": name_zh, "en": name_en }, "stations": 1_667 }).to_string())?;
    noise(&dir.join("media/photo.bin"), 256 << 10, slug)?;
    noise(&dir.join("media/film.bin"), 24 << 20, slug)?;
    for n in 1..=12 {
        noise(
            &dir.join(format!("books/{n}.bin")),
            64 << 10 << (n % 5),
            slug,
        )?;
    }
    Ok(())
}

/// A page without any network name that must be resolved to look right.
fn page(name_zh: &str, name_en: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"zh-Hant-TW\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{name_zh} · {name_en}</title><link rel=\"stylesheet\" href=\"/static/site.css\"><link rel=\"icon\" href=\"/static/logo.svg\"></head>\n\
         <body><header><img src=\"/static/logo.svg\" alt=\"\" width=\"40\" height=\"40\"> <a href=\"/\">{name_zh}</a></header>\n<main>{body}</main>\n\
         <footer><time>2026</time></footer><script src=\"/static/site.js\" defer></script></body></html>\n"
    )
}

fn css() -> &'static str {
    "body{font:16px/1.6 system-ui,'Noto Sans TC',sans-serif;max-width:46rem;margin:0 auto;padding:1rem;color:#1c2733}\n\
     header{display:flex;gap:.75rem;align-items:center;border-bottom:2px solid #0b6e6e;padding-bottom:.5rem}\na{color:#0b5c8a}\n"
}

fn logo(slug: &str) -> String {
    let hue = slug.bytes().fold(0u32, |sum, b| {
        sum.wrapping_mul(31).wrapping_add(u32::from(b))
    }) % 360;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 40 40\"><rect width=\"40\" height=\"40\" rx=\"8\" fill=\"hsl({hue} 60% 35%)\"/>\
         <path d=\"M8 30V12l12-5 12 5v18\" fill=\"none\" stroke=\"#fff\" stroke-width=\"3\"/></svg>\n"
    )
}

/// Bytes that do not compress, the same at every start, so that a transfer can be checked.
fn noise(path: &Path, size: usize, seed: &str) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut state = seed.bytes().fold(0x9e37_79b9_7f4a_7c15u64, |s, b| {
        (s ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    }) | 1;
    for _ in 0..size / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    file.flush()
}
