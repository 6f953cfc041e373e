// Parts of a page that renew themselves by server-sent events. The browser opens
// a broken stream again by itself; a stream that is gone for good is said so.

export function startLive(charts) {
  for (const part of document.querySelectorAll("[data-live]")) open(part, charts);
}

function open(part, charts) {
  const source = new EventSource(part.dataset.live);
  const shown = new Map();
  const state = (name) => part.setAttribute("data-live-state", name);
  state("opening");
  source.onopen = () => state("open");
  source.onerror = () => state(source.readyState === EventSource.CLOSED ? "closed" : "opening");
  source.addEventListener("values", (event) => {
    const values = JSON.parse(event.data);
    for (const element of part.querySelectorAll("[data-live-value]")) {
      const text = values[element.dataset.liveValue];
      if (text !== undefined && element.textContent !== text) element.textContent = text;
    }
  });
  source.addEventListener("fragment", (event) => {
    const { target, html } = JSON.parse(event.data);
    const element = document.getElementById(target);
    // What has not changed is left alone: it may be being read aloud or selected.
    // The server escapes everything that came from people.
    if (element && part.contains(element) && shown.get(target) !== html) {
      element.innerHTML = html;
      shown.set(target, html);
    }
  });
  source.addEventListener("point", (event) => {
    const { chart, at, values } = JSON.parse(event.data);
    charts.get(chart)?.add(at, values);
  });
  addEventListener("pagehide", () => source.close());
}
