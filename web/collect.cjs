// Gathers in vendor/ what a report contains: the three minified files, and the licences of every
// package bundled in them.
"use strict";
const fs = require("fs");
const path = require("path");
const modules = path.join(__dirname, "node_modules");
const vendor = path.join(__dirname, "vendor");
fs.mkdirSync(vendor, { recursive: true });

const packages = ["vega", "vega-lite", "vega-embed"];
for (const name of packages)
  fs.copyFileSync(path.join(modules, name, "build", name + ".min.js"), path.join(vendor, name + ".min.js"));

// Dependencies, theirs included; what only their command-line tools use is not bundled, but listing
// it costs nothing.
const seen = new Map();
function visit(name) {
  if (seen.has(name)) return;
  const folder = path.join(modules, name);
  const manifest = path.join(folder, "package.json");
  if (!fs.existsSync(manifest)) return;
  const described = JSON.parse(fs.readFileSync(manifest, "utf8"));
  seen.set(name, { folder, described });
  for (const dependency of Object.keys(described.dependencies ?? {})) visit(dependency);
}
packages.forEach(visit);

// Packages with the same text share one paragraph.
const byText = new Map();
for (const [name, { folder, described }] of [...seen].sort()) {
  const file = fs.readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file ? fs.readFileSync(path.join(folder, file), "utf8").trim() : "(" + described.license + ")";
  if (!byText.has(text)) byText.set(text, []);
  byText.get(text).push(`${name} ${described.version} (${described.license})`);
}
const licences = [...byText].map(([text, names]) => names.join(", ") + "\n\n" + text).join("\n\n----\n\n");
fs.writeFileSync(path.join(vendor, "licences.txt"), licences + "\n");
