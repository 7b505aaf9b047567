// Draws the Vega-Lite specification in a file as SVG on standard output, with the same minified
// files the report page contains.
"use strict";
const fs = require("fs");
const path = require("path");
const vm = require("vm");
for (const name of ["vega", "vega-lite"]) {
  const file = path.join(__dirname, "vendor", name + ".min.js");
  vm.runInThisContext(fs.readFileSync(file, "utf8"), { filename: file });
}
const spec = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const logger = globalThis.vega.logger(globalThis.vega.Warn, "warn", (_method, _level, parts) =>
  process.stderr.write([].concat(parts).join(" ") + "\n"));
const compiled = globalThis.vegaLite.compile(spec, { logger }).spec;
new globalThis.vega.View(globalThis.vega.parse(compiled), { renderer: "none", logger })
  .toSVG()
  .then((svg) => process.stdout.write(svg + "\n"))
  .catch((error) => {
    process.stderr.write(String(error) + "\n");
    process.exitCode = 1;
  });
