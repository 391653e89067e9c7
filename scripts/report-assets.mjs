// Makes the module of `packages/load` that holds the style of reports: a report is a single file, and the
// pure code that writes it reads no files. Colours and tables are those of the comparison page.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const STYLES = [
  "packages/experiments/assets/comparison/page.css",
  "packages/load/assets/report/report.css",
];

/** The text of `packages/load/src/plots/report-style.ts`. */
export function reportAssets(root) {
  const style = `\n${STYLES.map((file) => readFileSync(join(root, file), "utf8")).join("")}`;
  if (/<\/style|<!--/i.test(style)) throw new Error("a style holds HTML's own words");
  const hash = `sha256-${createHash("sha256").update(style).digest("base64")}`;
  return `/**
 * The style of reports, and what their content security policy knows it by. Written by
 * \`npm run generate\` from \`assets/report\` and the comparison page's style: change those.
 */
export const REPORT_STYLE = ${JSON.stringify(style)};
export const REPORT_STYLE_HASH = ${JSON.stringify(hash)};
`;
}
