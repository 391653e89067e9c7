import { escapeHtml, inlineJson } from "./escaping.ts";
import type { ComparisonFacts } from "./comparison-facts.ts";
import {
  PAGE_BODY,
  PAGE_SCRIPT,
  PAGE_SCRIPT_HASH,
  PAGE_STYLE,
  PAGE_STYLE_HASH,
} from "./page-assets.ts";
import { pageModel } from "./page-model.ts";

/**
 * Only the script and the style that were released with the page run; pictures come from where the page
 * lies, nothing else is loaded and nothing is sent. `file:` because a page that was opened from a disk
 * has no origin that every browser takes for `'self'`; `data:` for the icon.
 */
const POLICY = [
  "default-src 'none'",
  `script-src '${PAGE_SCRIPT_HASH}'`,
  `style-src '${PAGE_STYLE_HASH}'`,
  "img-src 'self' file: data:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** A square in Holdfast's colour; without one a browser asks a server for `/favicon.ico`. */
const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E%3Crect width='8' height='8' rx='2' fill='%230f766e'/%3E%3C/svg%3E";

/**
 * The comparison page of an experiment as one HTML file, to lie beside its `images` folder. It can be
 * opened from a disk and sent to somebody: all data is in it, and no request leaves it.
 */
export function comparisonPage(facts: ComparisonFacts): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escapeHtml(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(facts.name)} – comparison</title>
<link rel="icon" href="${escapeHtml(ICON)}">
<style>${PAGE_STYLE}</style>
</head>
<body>
${PAGE_BODY}
<script type="application/json" id="data">${inlineJson(pageModel(facts))}</script>
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`;
}
