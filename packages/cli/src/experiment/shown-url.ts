/** An address without user, password and query, for people and files. Text that is no URL stays. */
export function shownUrl(text: string): string {
  if (!URL.canParse(text)) return text;
  const { origin, pathname } = new URL(text);
  return `${origin}${pathname === "/" ? "" : pathname}`;
}
