// The report page: draws the figures and tables that are embedded as JSON. Nothing is fetched.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const main = document.getElementById("main");

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function download(name, type, text) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    element("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  // ---- CSV (RFC 4180)
  function csvField(value) {
    if (value === null || value === undefined) return "";
    const text = String(value);
    return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }
  const csv = (columns, rows) =>
    [columns, ...rows].map((row) => row.map(csvField).join(",") + "\r\n").join("");

  // Scalars of nested objects as "metrics.ttft_s.median"; lists of numbers joined by spaces.
  function flattened(value, path, into) {
    if (Array.isArray(value)) {
      if (value.every((x) => typeof x !== "object")) into[path] = value.join(" ");
    } else if (value !== null && typeof value === "object") {
      for (const key of Object.keys(value)) flattened(value[key], path ? path + "." + key : key, into);
    } else {
      into[path] = value;
    }
    return into;
  }
  function objectsToCsv(objects) {
    const columns = new Set();
    for (const object of objects) for (const key of Object.keys(object)) columns.add(key);
    const names = [...columns];
    return csv(names, objects.map((object) => names.map((name) => object[name])));
  }
  function recordsCsv() {
    return objectsToCsv(data.records.records.map((record) => flattened(record, "", {})));
  }
  function operatorsCsv() {
    const rows = [];
    for (const record of data.records.records) {
      for (const phase of ["prefill", "decode"]) {
        for (const row of record[phase]?.rows ?? []) {
          rows.push({ source: record.source, ...flattened(record.cell, "", {}), phase, ...row });
        }
      }
    }
    return objectsToCsv(rows);
  }

  // ---- tables
  function shown(value) {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value)) return value.toLocaleString("en-US");
    return Number(value.toPrecision(6)).toString();
  }
  function compare(a, b) {
    const missing = (x) => x === null || x === undefined || x === "";
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }
  function tableOf({ columns, rows }) {
    const numeric = columns.map((_, i) =>
      rows.some((row) => typeof row[i] === "number") && rows.every((row) => row[i] === null || typeof row[i] === "number"));
    const body = element("tbody");
    const fill = (ordered) => {
      body.replaceChildren(...ordered.map((row) =>
        element("tr", {}, ...row.map((value, i) => {
          const cell = element("td", { textContent: shown(value) });
          if (numeric[i]) cell.className = "number";
          else if (cell.textContent.length > 48) cell.className = "wide";
          if (typeof value === "number") cell.title = String(value);
          return cell;
        }))));
    };
    const heads = columns.map((title, i) => {
      const head = element("th", { scope: "col", className: numeric[i] ? "number" : "" });
      const button = element("button", { type: "button", textContent: title });
      button.addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        // What is missing stays last either way.
        const present = rows.filter((row) => row[i] !== null && row[i] !== "");
        const absent = rows.filter((row) => row[i] === null || row[i] === "");
        present.sort((a, b) => (descending ? compare(b[i], a[i]) : compare(a[i], b[i])));
        fill([...present, ...absent]);
      });
      head.append(button);
      return head;
    });
    fill(rows);
    return element("div", { className: "table", tabIndex: 0 },
      element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body));
  }
  // Rows are made when the table is first opened: a study may have many thousands.
  function foldedTable(title, table, open = false) {
    const details = element("details", { open },
      element("summary", { textContent: `${title} (${table.rows.length.toLocaleString("en-US")} rows)` }));
    const make = () => {
      if (details.open && !details.querySelector("table")) details.append(tableOf(table));
    };
    details.addEventListener("toggle", make);
    make();
    return details;
  }

  // ---- theme: specifications are written in the light theme's colours
  const dark = {
    "#FFFFFF": "#17191D", "#E8E8E8": "#2B2F36", "#C8C8C8": "#464B54", "#8A8A8A": "#7D838D",
    "#3A3A3A": "#C9CCD1", "#1E1E1E": "#ECECEC", "#4D4D4D": "#C4C4C4", "#0072B2": "#3C96DC",
    "#BDBDBD": "#5A5F68", "#999999": "#8D9299",
  };
  function themed(spec, isDark) {
    if (!isDark) return spec;
    const { data: values, ...rest } = spec;
    const text = JSON.stringify(rest).replace(/#[0-9A-F]{6}/g, (colour) => dark[colour] ?? colour);
    return { ...JSON.parse(text), data: values };
  }
  const stored = (() => {
    try { return localStorage.getItem("tidemark-theme"); } catch { return null; }
  })();
  const preference = matchMedia("(prefers-color-scheme: dark)");
  let isDark = stored ? stored === "dark" : preference.matches;
  const themeButton = document.getElementById("theme");

  async function draw(figure, place) {
    const result = await vegaEmbed(place, themed(figure.spec, isDark), {
      mode: "vega-lite",
      renderer: "svg",
      actions: { export: { svg: true, png: true }, source: true, compiled: false, editor: false },
      downloadFileName: "tidemark-" + figure.id,
      scaleFactor: { svg: 1, png: 3 },
      tooltip: { theme: isDark ? "dark" : "light" },
    });
    figure.view?.finalize();
    figure.view = result.view;
  }
  async function drawAll() {
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    themeButton.textContent = isDark ? "Light" : "Dark";
    document.documentElement.removeAttribute("data-drawn");
    for (const figure of data.figures) {
      if (!figure.spec) continue;
      const place = document.querySelector(`#${figure.id} .chart`);
      try {
        await draw(figure, place);
      } catch (error) {
        place.replaceChildren(element("p", { className: "bad", textContent: "Not drawn: " + error.message }));
        console.error(figure.id, error);
      }
    }
    document.documentElement.dataset.drawn = "yes";
  }
  // One drawing at a time; a switch during one is drawn after it.
  let drawing = Promise.resolve();
  function switchTo(value, keep) {
    isDark = value;
    if (keep) try { localStorage.setItem("tidemark-theme", isDark ? "dark" : "light"); } catch { /* files may not store */ }
    drawing = drawing.then(drawAll);
  }
  themeButton.addEventListener("click", () => switchTo(!isDark, true));
  preference.addEventListener("change", (event) => { if (!stored) switchTo(event.matches, false); });

  // ---- the page
  const summary = element("section", { id: "summary" }, element("h2", { textContent: "What was measured, on what" }),
    ...data.summary.lines.map((line) => element("p", { textContent: line })),
    tableOf(data.summary.machines));
  if (data.summary.failures.rows.length > 0)
    summary.append(foldedTable("Cells without a result, and why", data.summary.failures, true));
  if (data.summary.flagged.rows.length > 0)
    summary.append(foldedTable("Results marked by clock, throttling or temperature", data.summary.flagged));

  const nav = element("nav", { ariaLabel: "Figures" }, ...data.figures.map((figure) =>
    element("a", { href: "#" + figure.id, textContent: figure.title, className: figure.spec ? "" : "empty" })));
  main.append(nav, summary);

  for (const figure of data.figures) {
    const section = element("section", { id: figure.id }, element("h2", { textContent: figure.title }));
    if (figure.spec) {
      section.append(element("p", { className: "soft", textContent: figure.how }), element("div", { className: "scroll" }, element("div", { className: "chart" })));
      if (figure.remarks) section.append(element("p", { className: "soft", textContent: figure.remarks }));
    } else {
      section.append(element("p", { className: "empty-reason", textContent: figure.empty }));
    }
    if (figure.table.rows.length > 0) {
      const buttons = element("div", { className: "row" });
      const button = (text, action) => {
        const made = element("button", { type: "button", textContent: text });
        made.addEventListener("click", action);
        buttons.append(made);
      };
      button("Table (CSV)", () => download(`tidemark-${figure.id}.csv`, "text/csv", csv(figure.table.columns, figure.table.rows)));
      if (figure.spec)
        button("Vega-Lite specification", () => download(`tidemark-${figure.id}.vl.json`, "application/json", JSON.stringify(figure.spec, null, 1)));
      section.append(foldedTable("Table", figure.table), buttons);
    }
    main.append(section);
  }

  document.getElementById("footer").append(
    element("p", { textContent: "Charts are drawn by vega, vega-lite and vega-embed, contained in this page; it fetches nothing." }),
    element("details", {}, element("summary", { textContent: "Their licences" }),
      element("pre", { textContent: data.licences })));
  document.getElementById("download-json").addEventListener("click", () =>
    download("tidemark-records.json", "application/json", JSON.stringify(data.records)));
  document.getElementById("download-csv").addEventListener("click", () =>
    download("tidemark-records.csv", "text/csv", recordsCsv()));
  document.getElementById("download-operators").addEventListener("click", () =>
    download("tidemark-operators.csv", "text/csv", operatorsCsv()));
  switchTo(isDark, false);
})();
