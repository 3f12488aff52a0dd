// Charts drawn from the tables of the page, and small conveniences. Every page works without this file.
"use strict";

const styles = (names) => {
  const probe = document.body.appendChild(document.createElement("span"));
  const found = {};
  for (const name of names) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
};

const readTable = (table, newestFirst) => {
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const rows = [...table.tBodies[0].rows];
  if (newestFirst) rows.reverse(); // time runs from left to right in a chart
  const value = (cell) => (cell.dataset.value === "" || cell.dataset.value === undefined ? null : Number(cell.dataset.value));
  return {
    axis: rows.map((row) => row.cells[0].textContent.trim()),
    series: heads.slice(1).map((name, at) => ({ name, data: rows.map((row) => value(row.cells[at + 1])) })),
  };
};

const drawn = new Map();

const draw = (figure) => {
  const table = figure.querySelector("table");
  const plot = figure.querySelector(".plot");
  if (!table || !plot || !window.echarts) return;
  const { axis, series } = readTable(table, "newestFirst" in figure.dataset);
  const colour = styles(["ink", "soft", "rule", "card", "c0", "c1", "c2", "c3", "c4", "c5"]);
  const intervals = figure.dataset.kind === "interval";
  const sideways = intervals || figure.dataset.kind === "bars";
  const fresh = !drawn.has(plot);
  plot.hidden = false;
  if (fresh) plot.style.height = sideways ? `${Math.max(180, (intervals ? 44 : 28 * series.length) * axis.length + 70)}px` : `${260 + 24 * Math.max(0, Math.ceil((series.length - 3) / 3))}px`;
  const chart = drawn.get(plot) || window.echarts.init(plot, null, { renderer: "svg" });
  drawn.set(plot, chart);
  const named = !sideways && !intervals && axis.length > 0;
  const legendRows = series.length > 1 && !intervals ? Math.ceil(series.reduce((width, one) => width + 52 + 7.5 * one.name.length, 0) / Math.max(plot.clientWidth, 240)) : 0;
  const top = 16 + 24 * legendRows;
  const axisName = (text, place) => (text ? { name: text, nameLocation: place, nameGap: place === "middle" ? 30 : 10, nameTextStyle: { color: colour.soft, align: place === "middle" ? "center" : "left" } } : {});
  const names = { type: "category", data: axis, ...axisName(named ? table.tHead.rows[0].cells[0].textContent.trim() : "", "middle"), inverse: sideways, axisLabel: { color: colour.soft, hideOverlap: !sideways, ...(sideways ? { width: 120, overflow: "break" } : {}) }, axisLine: { lineStyle: { color: colour.rule } }, axisTick: { show: false } };
  const sizes = { type: "value", ...axisName(named ? figure.dataset.unit || "" : "", "end"), scale: figure.dataset.kind === "line", axisLabel: { color: colour.soft, hideOverlap: true }, splitNumber: plot.clientWidth < 420 ? 3 : 5, splitLine: { lineStyle: { color: colour.rule } } };
  const kind = figure.dataset.kind === "line" ? "line" : "bar";
  const plain = () => series.map((one) => ({ ...one, type: kind, showSymbol: one.data.length <= 60, showAllSymbol: true, symbolSize: 5, barMaxWidth: 22, lineStyle: { width: 2 }, connectNulls: false }));
  const whiskers = () => {
    const [middle, low, high] = series;
    const limits = axis.map((_, at) => [low.data[at], high.data[at], at]).filter(([from, to]) => from !== null && to !== null);
    const line = (params, api) => {
      const [from, to] = [api.coord([api.value(0), api.value(2)]), api.coord([api.value(1), api.value(2)])];
      return { type: "line", shape: { x1: from[0], y1: from[1], x2: to[0], y2: to[1] }, style: { stroke: colour.c0, lineWidth: 3, lineCap: "round" } };
    };
    return [
      { type: "custom", renderItem: line, data: limits, encode: { x: [0, 1], y: 2 }, silent: true },
      { type: "scatter", name: middle.name, data: axis.map((_, at) => [middle.data[at], at]).filter(([value]) => value !== null), symbolSize: 11, itemStyle: { color: colour.c0, borderColor: colour.card, borderWidth: 2 }, encode: { x: 0, y: 1 } },
    ];
  };
  chart.setOption({
    animation: false,
    color: [colour.c0, colour.c1, colour.c2, colour.c3, colour.c4, colour.c5],
    textStyle: { color: colour.ink, fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { left: 8, right: 20, top, bottom: 8, outerBoundsMode: "same", outerBoundsContain: "all", outerBounds: { left: 8, right: 20, top, bottom: 8 } },
    legend: legendRows ? { top: 0, left: 0, type: "plain", textStyle: { color: colour.ink } } : undefined,
    tooltip: { trigger: intervals ? "item" : "axis", renderMode: "richText", confine: true, backgroundColor: colour.card, borderColor: colour.rule, textStyle: { color: colour.ink } },
    xAxis: sideways ? sizes : names,
    yAxis: sideways ? names : sizes,
    series: intervals ? whiskers() : plain(),
  }, true);
  if (fresh) {
    plot.setAttribute("aria-hidden", "true"); // the same numbers stand in the table below, which is what is read aloud
    figure.querySelector("details").open = false;
  }
};

const drawAll = (root) => root.querySelectorAll("figure.chart").forEach(draw);

const showValues = (event) => {
  if (event.target.type !== "range") return;
  const shown = document.querySelector(`output[for="${event.target.id}"]`);
  if (shown) shown.value = event.target.value;
};

document.addEventListener("DOMContentLoaded", () => drawAll(document));
document.addEventListener("input", showValues);
document.addEventListener("focusin", (event) => "select" in event.target.dataset && event.target.select());
window.addEventListener("resize", () => drawn.forEach((chart, plot) => (plot.isConnected ? chart.resize() : drawn.delete(plot))));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));

// What asks for itself again and again waits while somebody reads a table in it or stands in it with the keyboard.
document.addEventListener("htmx:beforeRequest", (event) => {
  const region = event.detail.elt;
  const polls = /\bevery\b/.test(region.getAttribute("hx-trigger") || "");
  if (polls && (document.hidden || region.querySelector("details[open]") || region.contains(document.activeElement))) event.preventDefault();
});

// A list that was asked for stands where it can be read: after a button of an item the page stays where it is, after the form's own button the
// top of the list, or what is said instead of it, comes into view.
let held = null; // how far the page was scrolled when the button of an item was pressed
let asked = false; // whether the form itself was sent
document.addEventListener("htmx:beforeSwap", (event) => {
  const { triggeringEvent: trigger, elt: form } = event.detail.requestConfig || {};
  if (!trigger || form.id !== "who") return;
  asked = trigger.type === "submit" && !(trigger.submitter && trigger.submitter.name);
  held = window.scrollY;
});
const bringIntoView = () => {
  if (held === null) return;
  const result = document.querySelector("#result");
  const top = result ? result.getBoundingClientRect().top : 0;
  if (!asked) window.scrollTo({ top: held, behavior: "instant" });
  else if (result && (top < 0 || top > 0.6 * window.innerHeight)) result.scrollIntoView({ block: "start", behavior: "instant" });
  held = null;
};

document.addEventListener("htmx:afterSettle", (event) => {
  for (const plot of [...drawn.keys()]) {
    if (plot.isConnected) continue;
    drawn.get(plot).dispose();
    drawn.delete(plot);
  }
  drawAll(document);
  const spoken = document.querySelector("#result[data-announce]");
  if (spoken) document.querySelector("#announce").textContent = spoken.dataset.announce;
  if (document.activeElement === document.body && document.querySelector("#result h2")) {
    const heading = document.querySelector("#result h2"); // the button that was pressed is gone: go on from the list
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
  bringIntoView();
});

// A conversation: what is sent goes out at once, the reply appears word by word. Without this the form is a form.
const converse = async (form, sent) => {
  const [talk, problem, typed] = ["#talk", "#talk-problem", "#text"].map((name) => form.querySelector(name));
  const say = (text) => {
    problem.textContent = text;
    problem.hidden = !text;
  };
  const buttons = [...form.querySelectorAll("button")];
  buttons.forEach((one) => (one.disabled = true));
  say("");
  const making = form.querySelector("#talk-making");
  making.hidden = false;
  let growing = null;
  try {
    const answer = await fetch(form.dataset.stream, { method: "POST", body: sent, headers: { Accept: "text/event-stream" } });
    if (!(answer.headers.get("content-type") || "").startsWith("text/event-stream")) throw new Error(String(answer.status));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let waiting = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      waiting += part.value;
      const events = waiting.split("\n\n");
      waiting = events.pop();
      for (const one of events) {
        const told = JSON.parse(one.slice("data: ".length));
        if (told.problem !== undefined) say(told.problem);
        making.hidden = true;
        if (told.said !== undefined) {
          form.querySelector("#talk-start")?.remove();
          document.querySelector(".preferences")?.remove(); // the page would be loaded anew, and the conversation lies in it
          document.querySelector("#look-later").hidden = false;
          talk.querySelectorAll(".say").forEach((old) => old.remove());
          talk.insertAdjacentHTML("beforeend", told.said);
          typed.value = "";
          growing = talk.appendChild(document.createElement("li"));
          growing.className = "turn theirs";
          growing.append(Object.assign(document.createElement("p"), { className: "who", textContent: talk.dataset.reply }));
          growing.append(Object.assign(document.createElement("p"), { className: "words" }));
        }
        if (told.text !== undefined) growing.lastChild.textContent += told.text;
        if (told.turn !== undefined) {
          growing.outerHTML = told.turn;
          growing = null;
        }
      }
    }
  } catch (error) {
    growing?.remove();
    say(String(error.message || error));
  }
  making.hidden = true;
  buttons.forEach((one) => (one.disabled = false));
  typed.focus({ preventScroll: true });
};

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.id !== "chat" || !window.TextDecoderStream) return;
  event.preventDefault();
  converse(form, new URLSearchParams(new FormData(form, event.submitter)));
});
// Enter sends, Shift and Enter begins a new line: in a conversation and where one describes oneself.
document.addEventListener("keydown", (event) => {
  const form = event.target.form;
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.target.id !== "text" || !form || !["chat", "who"].includes(form.id)) return;
  event.preventDefault();
  form.requestSubmit(form.querySelector("button.main"));
});
