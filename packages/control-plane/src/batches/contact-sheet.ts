/** A book as one page of HTML to look over: no script, nothing from elsewhere, as few as many pages. */
import { createHash } from "node:crypto";
import {
  PAGE_BADGES,
  PAGE_STATUSES,
  type BatchView,
  type BookPageView,
  type OutputView,
  type PageStatus,
} from "@holdfast/contract";
import { outputUrl } from "../jobs/view.ts";
import { keptOutputs, type BookReader, type PageWithOutputs } from "./book-files.ts";
import { htmlText } from "./html-text.ts";

/** Which part of a book a sheet shows. */
export interface SheetChoice {
  readonly status: PageStatus | undefined;
  /** Pages above this number. */
  readonly after: number;
  /** At most so many. */
  readonly limit: number;
  /** To be kept as a file: nothing on it leads to other parts of the book. */
  readonly isStandalone: boolean;
  readonly signal: AbortSignal;
}

/** Longest name, prompt and error that are shown. */
const NAME_SHOWN = 80;
const PROMPT_SHOWN = 90;
const ERROR_SHOWN = 400;
/** Images of one page that are shown; the others are links. */
const IMAGES_SHOWN = 4;
/** Types that a browser shows as a picture. */
const PICTURES = new Set([
  "image/png",
  "image/jpeg",
  "image/webp",
  "image/gif",
  "image/avif",
  "image/bmp",
]);

// `content-visibility` leaves out of layout what is not on the screen: ten thousand pages scroll.
const STYLE = `:root{color-scheme:light dark;--line:#d0d4da;--card:#fff;--page:#f4f5f7;--text:#16191d;--soft:#5b636e}
@media (prefers-color-scheme:dark){:root{--line:#343a42;--card:#1b1f24;--page:#121518;--text:#e8eaed;--soft:#a4acb6}}
*{box-sizing:border-box}body{margin:0;font:15px/1.45 system-ui,sans-serif;background:var(--page);color:var(--text)}
header,nav.end{padding:1rem 1.25rem}h1{margin:0 0 .25rem;font-size:1.3rem;overflow-wrap:anywhere}p{margin:.25rem 0}nav a{margin-right:1rem}
a{color:inherit}a[aria-current]{font-weight:700;text-decoration:none}.soft{color:var(--soft)}main{display:grid;gap:.75rem;padding:0 1.25rem;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr))}
article{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.6rem;content-visibility:auto;contain-intrinsic-size:auto 15rem;overflow-wrap:anywhere}
h2{font-size:1rem;margin:0 0 .35rem}h2 small{font-weight:400;color:var(--soft)}img{width:100%;height:auto;border-radius:.3rem;display:block;margin-bottom:.35rem;background:var(--line)}
.badge{display:inline-block;padding:.05rem .5rem;border-radius:1rem;font-size:.85rem;border:1px solid currentColor}
.done{color:#1a7f37}.attention{color:#b3261e}.rendering{color:#0b5cad}.pending,.cancelled{color:var(--soft)}
@media (prefers-color-scheme:dark){.done{color:#5fd07f}.attention{color:#ff8a80}.rendering{color:#7db9ff}}
.prompt,.error,.changed{font-size:.85rem}.prompt{margin:0 0 .35rem}.error{color:var(--soft)}.changed{border-left:3px solid #b26a00;padding-left:.5rem}
.missing{display:block;padding:2rem .75rem;margin-bottom:.35rem;border:1px dashed currentColor;border-radius:.3rem;color:var(--soft);font-size:.85rem;text-align:center}`;

/** What a browser may do with the sheet: show it, and the pictures of this server. */
export function contactSheetPolicy(): string {
  const hash = createHash("sha256").update(STYLE).digest("base64");
  return `default-src 'none'; style-src 'sha256-${hash}'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
}

/** The sheet, piece by piece. One page more than it shows is read, to know whether there is one. */
export async function* contactSheet(
  batch: BatchView,
  readPages: BookReader["pages"],
  choice: SheetChoice,
): AsyncGenerator<string, void, void> {
  yield headOf(batch, choice);
  const { status, after, limit, signal } = choice;
  let shown = 0;
  let last = after;
  let hasMore = false;
  const chosen = { after, withPrompts: true, signal, ...(status !== undefined && { status }) };
  for await (const step of readPages(batch.id, chosen)) {
    const room = step.slice(0, limit - shown);
    yield room.map((page) => cardOf(page)).join("");
    shown += room.length;
    last = room.at(-1)?.page.page ?? last;
    hasMore = step.length > room.length;
    if (hasMore) break;
  }
  yield `</main>${shown === 0 ? '<p class="soft end">no pages here</p>' : ""}${endOf(choice, hasMore, last)}</body></html>\n`;
}

function headOf(batch: BatchView, choice: SheetChoice): string {
  const name = batch.name === null ? "" : `: ${shorten(batch.name, NAME_SHOWN)}`;
  const title = htmlText(`Book ${batch.number}${name}`);
  const shown = choice.isStandalone ? countsOf(batch, choice.status) : filtersOf(batch, choice);
  const icon = choice.isStandalone
    ? ""
    : '<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">';
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${title}</title>${icon}<style>${STYLE}</style></head><body><header><h1>${title}</h1><p class="soft">${htmlText(standingOf(batch))}</p>${shown}</header><main>`;
}

function standingOf({ status, progress, pageCount, changedPages }: BatchView): string {
  const state = status === "attention" ? "needs attention" : status;
  const words = `${state}, ${progress.percent.toFixed(0)} % of ${pageCount} pages have ended`;
  if (changedPages === 0) return words;
  return `${words}, ${changedPages} ${changedPages === 1 ? "is" : "are"} not as submitted`;
}

function countsOf(batch: BatchView, status: PageStatus | undefined): string {
  const counts = PAGE_STATUSES.filter((one) => (batch.pages[one] ?? 0) > 0).map(
    (one) => `${batch.pages[one]} ${PAGE_BADGES[one]}`,
  );
  const only = status === undefined ? "" : `; here: ${PAGE_BADGES[status]}`;
  return `<p>${htmlText(counts.join(", ") + only)}</p>`;
}

function filtersOf(batch: BatchView, choice: SheetChoice): string {
  const filters = PAGE_STATUSES.filter((status) => (batch.pages[status] ?? 0) > 0)
    .map((status) => {
      const words = `${PAGE_BADGES[status]} (${batch.pages[status]})`;
      return linkTo({ ...choice, status, after: 0 }, words, status === choice.status);
    })
    .join("");
  const all = linkTo(
    { ...choice, status: undefined, after: 0 },
    `All (${batch.pageCount})`,
    choice.status === undefined,
  );
  return `<nav aria-label="Which pages">${all}${filters}</nav>`;
}

function endOf(choice: SheetChoice, hasMore: boolean, last: number): string {
  if (choice.isStandalone) {
    return hasMore ? `<p class="soft end">pages after ${last} are not on this sheet</p>` : "";
  }
  const first = choice.after > 0 ? linkTo({ ...choice, after: 0 }, "First pages", false) : "";
  const next = hasMore
    ? linkTo({ ...choice, after: last }, `Pages after ${last}`, false, ' rel="next"')
    : "";
  return first + next === ""
    ? ""
    : `<nav class="end" aria-label="More pages">${first}${next}</nav>`;
}

function linkTo(
  { status, after, limit }: Omit<SheetChoice, "signal" | "isStandalone">,
  words: string,
  isHere: boolean,
  more = "",
): string {
  const query = new URLSearchParams({
    ...(status !== undefined && { status }),
    ...(after > 0 && { after: String(after) }),
    limit: String(limit),
  });
  const here = isHere ? ' aria-current="page"' : "";
  return `<a href="?${htmlText(query.toString())}"${here}${more}>${htmlText(words)}</a>`;
}

function cardOf({ page, outputs, prompt = null }: PageWithOutputs): string {
  const name =
    page.name === null ? "" : ` <small>${htmlText(shorten(page.name, NAME_SHOWN))}</small>`;
  return `<article id="p${page.page}"><h2>${page.page}${name}</h2>${picturesOf(page, keptOutputs(outputs))}${promptOf(prompt)}<span class="badge ${htmlText(page.status)}">${htmlText(page.badge)}</span>${changesOf(page)}${errorOf(page)}</article>\n`;
}

function picturesOf({ page }: BookPageView, outputs: readonly OutputView[]): string {
  let pictures = 0;
  return outputs
    .map((output) => {
      const url = htmlText(outputUrl(output.id));
      const type = output.mediaType.split(";", 1)[0] ?? "";
      const isShown = PICTURES.has(type) && pictures < IMAGES_SHOWN;
      if (!isShown)
        return `<p><a href="${url}">${htmlText(shorten(output.name, NAME_SHOWN))}</a></p>`;
      pictures += 1;
      const alt = pictures === 1 ? `Page ${page}` : `Page ${page}, picture ${pictures}`;
      return `<a href="${url}"><img src="${url}" alt="${alt}" loading="lazy" decoding="async"></a>`;
    })
    .join("");
}

function promptOf(prompt: string | null): string {
  return prompt === null ? "" : `<p class="prompt">${htmlText(firstWords(prompt))}</p>`;
}

/** As much of a text as is shown, parted between words where that is possible. */
function firstWords(text: string): string {
  const plain = text.replaceAll(/\s+/g, " ").trim();
  if (plain.length <= PROMPT_SHOWN) return plain;
  const end = plain.lastIndexOf(" ", PROMPT_SHOWN);
  return `${plain.slice(0, end > PROMPT_SHOWN / 2 ? end : PROMPT_SHOWN)}…`;
}

function changesOf({ changes }: BookPageView): string {
  if (changes === null || changes.loss === "none") return "";
  // The words of the command line, too.
  const words = `not as submitted (${changes.loss}): ${changes.steps.join(" ")}`;
  return `<p class="changed">${htmlText(shorten(words, ERROR_SHOWN))}</p>`;
}

function errorOf({ status, image_error: errors }: BookPageView): string {
  const latest = errors.at(-1);
  if (latest === undefined || status === "done") return "";
  const kind = latest.subclass === null ? latest.class : `${latest.class}/${latest.subclass}`;
  return `<p class="error">${htmlText(shorten(`${kind}: ${latest.message}`, ERROR_SHOWN))}</p>`;
}

function shorten(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}
