//! The pages that an edge makes itself: in Chinese and English, without scripts or
//! anything fetched, and without a word of what the client sent.

use bytes::Bytes;
use http::StatusCode;

/// What went wrong, as users are told.
fn words(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        400 => ("瀏覽器送出的請求格式有誤。", "The request was malformed."),
        403 => (
            "為了資訊安全，這個請求已被阻擋。",
            "This request was blocked to keep this network safe.",
        ),
        404 => ("這裡沒有您要的內容。", "There is nothing at this address."),
        405 => (
            "本站不接受這種請求方法。",
            "This site does not take requests of this kind.",
        ),
        408 => ("等候請求逾時。", "The request took too long to arrive."),
        413 => (
            "上傳的內容超過本站限制。",
            "What was sent is larger than this site allows.",
        ),
        414 => ("網址過長。", "The address is too long."),
        417 => (
            "無法滿足請求的預期條件。",
            "The expectation of the request cannot be met.",
        ),
        421 => (
            "這個節點沒有服務這個網站。",
            "This node does not serve that site.",
        ),
        429 => (
            "請求過於頻繁，請稍後再試。",
            "Too many requests; please try again in a moment.",
        ),
        431 => (
            "請求標頭過大。",
            "The request's header fields are too large.",
        ),
        501 => (
            "不支援這種請求。",
            "Requests of this kind are not supported.",
        ),
        502 => (
            "網站主機的回應有誤，請稍後再試。",
            "The site's server gave no valid answer; please try again later.",
        ),
        503 => (
            "服務暫時無法使用，請稍後再試。",
            "The service is unavailable for a moment; please try again later.",
        ),
        504 => (
            "網站主機沒有及時回應，請稍後再試。",
            "The site's server did not answer in time; please try again later.",
        ),
        505 => (
            "不支援這個 HTTP 版本。",
            "This version of HTTP is not supported.",
        ),
        _ => ("請求無法完成。", "The request could not be completed."),
    }
}

/// The page for a status.
pub(crate) fn page(status: StatusCode, node: &str) -> Bytes {
    write(status, "", node)
}

/// The page for what is refused by an enforcement.
pub(crate) fn refused(reference: &str, node: &str) -> Bytes {
    let note = format!(
        "<p>如果您認為這是誤擋，請告知網站管理者以下代碼。<br><span lang=\"en\">If you think this is a mistake, \
         tell the site's owner this reference.</span></p>\n<p><code>{reference}</code></p>\n"
    );
    write(StatusCode::FORBIDDEN, &note, node)
}

fn write(status: StatusCode, note: &str, node: &str) -> Bytes {
    let (chinese, english) = words(status);
    let code = status.as_u16();
    Bytes::from(format!(
        "<!doctype html>\n<html lang=\"zh-Hant-TW\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{code}</title>\n\
         <style>body{{font:1rem/1.6 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem;\
         color:#1c2733;background:#fff}}h1{{font-size:3rem;margin:0;color:#5a6b7b}}\
         footer{{margin-top:3rem;font-size:.85rem;color:#5a6b7b}}\
         @media(prefers-color-scheme:dark){{body{{color:#e3e9ef;background:#12181f}}h1,footer{{color:#9fb0c0}}}}</style>\n\
         </head>\n<body>\n<main>\n<h1>{code}</h1>\n<p>{chinese}</p>\n<p lang=\"en\">{english}</p>\n{note}</main>\n\
         <footer>{node}</footer>\n</body>\n</html>\n"
    ))
}
