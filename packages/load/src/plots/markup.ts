/** Texts and tables of reports. Nothing that a run, a server or a person named can become markup. */

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};
/** Longest text that is shown whole: error examples and names come from outside. */
const TEXT_LENGTH_MAX = 2_000;
const SHORT_LENGTH_MAX = 20;

/** What stands where nothing was measured: it is not zero. */
export const NOT_KNOWN = "–";

/** A text between tags, or in an attribute that has quotes. What is too long is cut, and says so. */
export function escapeHtml(text: string): string {
  const shown = text.length <= TEXT_LENGTH_MAX ? text : `${text.slice(0, TEXT_LENGTH_MAX)}…`;
  return shown.replaceAll(/[&<>"']/g, (found) => ENTITIES[found] ?? found);
}

/** A table with its heads; cells are text, not markup. The first cell of a row names it. */
export interface TextTable {
  readonly heads: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** The markup of a table; it scrolls by itself where it is wider than a phone. */
export function tableMarkup({ heads, rows }: TextTable, label: string): string {
  const head = heads.map((text) => `<th scope="col">${escapeHtml(text)}</th>`).join("");
  const body = rows.map((cells) => {
    const texts = cells.map((text, at) =>
      at === 0
        ? `<th scope="row"${shortness(text)}>${escapeHtml(text)}</th>`
        : `<td${shortness(text)}>${escapeHtml(text)}</td>`,
    );
    return `<tr>${texts.join("")}</tr>`;
  });
  return `<div class="scrolls" tabindex="0" role="region" aria-label="${escapeHtml(label)}"><table>
<thead><tr>${head}</tr></thead>
<tbody>${body.join("\n")}</tbody></table></div>`;
}

/** An amount is not torn from its unit. */
function shortness(text: string): string {
  return text.length <= SHORT_LENGTH_MAX ? ` class="short"` : "";
}

/** A table that opens when it is asked for: what a plot shows, for those who cannot see it. */
export function tableBehind(table: TextTable, label: string): string {
  const rows = table.rows.length === 1 ? "1 row" : `${table.rows.length} rows`;
  return `<details><summary>${escapeHtml(label)} as a table, ${rows}</summary>
${tableMarkup(table, label)}</details>`;
}

/** Names with values, as a list. */
export function factList(facts: readonly (readonly [name: string, value: string])[]): string {
  return `<dl class="figures">${facts
    .map(([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd></div>`)
    .join("")}</dl>`;
}
