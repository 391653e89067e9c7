const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/g;
/** Ids that a recording chose itself: they are the same on both sides. */
const CHOSEN = /^(a0000000|c0000000|1{8}|3{8})-/;

/**
 * Makes two answers comparable: ids, times, counters and Python's random set order are taken out,
 * everything else must be equal.
 */
export function normalise(value: unknown, key = ""): unknown {
  if (key === "timestamp") return "<time>";
  if (key === "number") return "<number>";
  if (typeof value === "string") return normaliseText(value, key);
  if (Array.isArray(value)) return normaliseList(value, key);
  if (typeof value !== "object" || value === null) return value;
  if (key === "meta") return normaliseMeta(value as Readonly<Record<string, unknown>>);
  if (key === "current_inputs") {
    return Object.fromEntries(Object.keys(value).map((name) => [name, "<printed>"]));
  }
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [normaliseText(name, ""), normalise(each, name)]),
  );
}

function normaliseText(text: string, key: string): string {
  if (key === "sid" && /^[0-9a-f]{32}$/.test(text)) return "<sid>";
  return text
    .replace(UUID, (id) => (CHOSEN.test(id) ? id : "<id>"))
    .replace(/_temp_[a-z]{5}_/, "_temp_<letters>_")
    .replace(/_\d{5}_\./, "_<counter>_.");
}

function normaliseList(list: readonly unknown[], key: string): unknown {
  switch (key) {
    case "traceback":
      return list.length === 0 ? [] : "<frames>";
    case "executed":
    case "current_outputs":
    case "nodes":
    case "dependent_outputs":
      return [...list].map(String).sort();
    case "errors":
      return list
        .map((each) => normalise(each))
        .sort((one, two) => details(one).localeCompare(details(two)));
    case "prompt":
      return list.map((each, index) => {
        if (index === 0) return "<number>";
        // The outputs to run are a set in Python, and in another order in each process.
        return index === 4 && Array.isArray(each) ? each.map(String).sort() : normalise(each);
      });
    case "queue_running":
    case "queue_pending":
      return list.map((each) => normaliseList(each as readonly unknown[], "prompt"));
    default:
      return list.map((each) => normalise(each));
  }
}

/**
 * What a history entry says of the nodes behind its outputs. Equal nodes are run once, and all of them
 * name the one that ran: whichever came first in a set. So they only name each other here.
 */
function normaliseMeta(meta: Readonly<Record<string, unknown>>): unknown {
  return Object.fromEntries(
    Object.entries(meta).map(([id, info]) => {
      const ran = nodeIdOf(info);
      const equal = Object.keys(meta).filter((other) => nodeIdOf(meta[other]) === ran);
      const name = equal.length === 1 ? ran : `<one for ${equal.sort().join(", ")}>`;
      const renamed = Object.entries(info as object).map(([field, value]) => [
        field,
        value === ran ? name : normalise(value, field),
      ]);
      return [id, Object.fromEntries(renamed) as unknown];
    }),
  );
}

function nodeIdOf(info: unknown): unknown {
  return (info as { readonly node_id?: unknown }).node_id;
}

function details(error: unknown): string {
  return String((error as { readonly details?: unknown }).details);
}

/** Key names and value types only: for numbers that depend on the machine. */
export function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(shapeOf);
  if (typeof value !== "object" || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, shapeOf(each)]));
}
