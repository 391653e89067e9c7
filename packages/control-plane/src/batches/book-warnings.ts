/** Different things that the answer to a book warns of; its caller looks at the book by then. */
const MAX_WARNINGS = 50;
/** Pages that a warning names. */
const PAGES_NAMED = 5;

/** Collects warnings: what is said of thousands of pages is said once, with the pages. */
export interface BookWarnings {
  /** `key` makes two warnings the same; the text of the first is told. */
  add(key: string, text: string, page: number): void;
  toList(): readonly string[];
}

/** Makes one. */
export function createBookWarnings(): BookWarnings {
  const found = new Map<
    string,
    { readonly text: string; readonly pages: number[]; count: number }
  >();
  let unheard = 0;
  return {
    add(key, text, page) {
      const known = found.get(key);
      if (known === undefined) {
        if (found.size < MAX_WARNINGS) found.set(key, { text, pages: [page], count: 1 });
        else unheard += 1;
        return;
      }
      known.count += 1;
      if (known.pages.length < PAGES_NAMED) known.pages.push(page);
    },
    toList: () => [
      ...[...found.values()].map(({ text, pages, count }) => `${pagesText(pages, count)}: ${text}`),
      ...(unheard === 0 ? [] : [`… and ${unheard} more`]),
    ],
  };
}

/** `page 3`, or `pages 1, 2, 3, … (400 in all)`. */
export function pagesText(pages: readonly number[], count: number = pages.length): string {
  const named = pages.slice(0, PAGES_NAMED);
  if (count === 1) return `page ${named[0]}`;
  return `pages ${named.join(", ")}${count > named.length ? `, … (${count} in all)` : ""}`;
}
