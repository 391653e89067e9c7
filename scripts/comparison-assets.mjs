// Makes one TypeScript module of `packages/experiments/assets/comparison`: the comparison page is a
// single file, and the pure code that writes it reads no files. No bundler: the scripts are few, and
// are joined in the order of their imports, without these and the word `export`.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join, normalize } from "node:path";

/** Parts of the style in their order: a later one may change what an earlier one says. */
const STYLES = ["page", "controls", "health", "grid", "details", "pair"];

/** The text of `packages/experiments/src/report/page-assets.ts`. */
export function comparisonAssets(root) {
  const folder = join(root, "packages/experiments/assets/comparison");
  const read = (name) => readFileSync(join(folder, name), "utf8");
  const script = `\n"use strict";\n{\n${joinScripts("main.js", read)}}\n`;
  const style = `\n${STYLES.map((name) => read(`${name}.css`)).join("")}`;
  for (const text of [script, style]) {
    // Either would end the element that the text stands in.
    if (/<\/(?:script|style)|<!--/i.test(text)) throw new Error("an asset holds HTML's own words");
  }
  return `/**
 * The comparison page's body, script and style, and what its content security policy knows them by.
 * Written by \`npm run generate\` from \`assets/comparison\`: change those.
 */
export const PAGE_BODY = ${JSON.stringify(read("page.html").trimEnd())};
export const PAGE_STYLE = ${JSON.stringify(style)};
export const PAGE_STYLE_HASH = ${JSON.stringify(hash(style))};
export const PAGE_SCRIPT = ${JSON.stringify(script)};
export const PAGE_SCRIPT_HASH = ${JSON.stringify(hash(script))};
`;
}

/** Modules after those they import, each once. Names are not changed: two of the same are an error. */
function joinScripts(entry, read) {
  const texts = [];
  const names = new Map();
  const seen = new Set();
  const add = (file) => {
    if (seen.has(file)) return;
    seen.add(file);
    const text = read(file);
    for (const [, path] of text.matchAll(/^import [^;]*? from "(.+)";$/gm)) add(normalize(path));
    for (const [, name] of text.matchAll(
      /^(?:export )?(?:async )?(?:function|const|let|class) (\w+)/gm,
    )) {
      if (names.has(name)) throw new Error(`${name} is in ${names.get(name)} and in ${file}`);
      names.set(name, file);
    }
    texts.push(text.replaceAll(/^import [^;]*? from ".+";\n/gm, "").replaceAll(/^export /gm, ""));
  };
  add(entry);
  return texts.map((text) => `${text.trim()}\n`).join("\n");
}

function hash(text) {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}
