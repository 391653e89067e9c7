/** The page that a report is: one file, to be opened from a disk and sent to somebody. */
import { escapeHtml } from "./markup.ts";
import { REPORT_STYLE, REPORT_STYLE_HASH } from "./report-style.ts";

/** A page's parts. */
export interface ReportPage {
  readonly title: string;
  /** One line below the title; text. */
  readonly lead: string;
  /** What must be read before all else, and how it is meant. */
  readonly notices: readonly {
    readonly tone: "good" | "bad" | "busy" | "plain";
    readonly text: string;
  }[];
  readonly sections: readonly ReportSection[];
}

/** A box of a page. */
export interface ReportSection {
  readonly title: string;
  /** Markup: from `linePlot`, `barPlot`, `tableMarkup` and the like. */
  readonly markup: string;
}

/** Nothing but the style that was released with the page: no script, no request, no form. */
const POLICY = [
  "default-src 'none'",
  `style-src '${REPORT_STYLE_HASH}'`,
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** A square in Holdfast's colour; without one a browser asks a server for `/favicon.ico`. */
const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E%3Crect width='8' height='8' rx='2' fill='%230f766e'/%3E%3C/svg%3E";

/** The text of the page. */
export function reportPage({ title, lead, notices, sections }: ReportPage): string {
  const told = notices.map(
    ({ tone, text }) => `<p class="notice is-${tone}">${escapeHtml(text)}</p>`,
  );
  const boxes = sections.map(
    (one, at) => `<section aria-labelledby="part-${at}">
<h2 id="part-${at}">${escapeHtml(one.title)}</h2>
${one.markup}
</section>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escapeHtml(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(title)}</title>
<link rel="icon" href="${escapeHtml(ICON)}">
<style>${REPORT_STYLE}</style>
</head>
<body>
<header><div><h1>${escapeHtml(title)}</h1><p class="quiet">${escapeHtml(lead)}</p></div></header>
<main>
${[...told, ...boxes].join("\n")}
</main>
</body>
</html>
`;
}
