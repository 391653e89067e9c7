/** What a text must not do on a page: end an element or an attribute, hide, or turn its direction. */
const SPECIAL: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
  "`": "&#96;",
};
/** Control characters, and marks that turn the direction of text. */
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const UNSHOWN = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+/g;

/** A text from outside as part of a page of HTML, within an element or a quoted attribute. */
export function htmlText(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(UNSHOWN, " ")
    .replaceAll(/[&<>"'`]/g, (sign) => SPECIAL[sign] ?? "");
}
