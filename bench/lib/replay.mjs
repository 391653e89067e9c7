/**
 * The raw SQL of an operation: its statements are recorded once as our services send them, and sent
 * again with fresh ids by the bare driver, each as soon as those it waited for have been answered.
 * What is left out is everything but the SQL: our own code, and nothing else.
 */
import { randomUUID } from "node:crypto";

const ID =
  /\b(?:[a-z]{3}_[0-9a-z]{26}|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})\b/g;

/** Records what `work` sends through the driver `pg`, and what came back. */
export async function record(pg, work) {
  const statements = [];
  let step = 0;
  const { query } = pg.Client.prototype;
  pg.Client.prototype.query = function note(config, ...rest) {
    if (typeof config !== "object" || typeof config.text !== "string") {
      return query.call(this, config, ...rest);
    }
    const callback = rest.at(-1);
    const { name, text } = config;
    const values = config.values ?? (Array.isArray(rest[0]) ? rest[0] : []);
    const statement = { name, text, values: structuredClone(values), begun: (step += 1) };
    statements.push(statement);
    const done = (result) => {
      statement.ended = step += 1;
      statement.rows = result?.rows ?? [];
    };
    if (typeof callback === "function") {
      rest[rest.length - 1] = (error, result) => {
        done(result);
        callback(error, result);
      };
      return query.call(this, config, ...rest);
    }
    const result = query.call(this, config, ...rest);
    void result.then(done, done);
    return result;
  };
  try {
    await work();
  } finally {
    pg.Client.prototype.query = query;
  }
  const loose = statements.find(({ text }) => /^\s*(begin|commit|rollback)/i.test(text));
  if (loose !== undefined) throw new Error(`a replay knows no transactions: ${loose.text}`);
  return statements.filter(({ ended }) => ended !== undefined);
}

/** Leaves out statements of background loops that fell into the recording. */
export function only(statements, pattern) {
  return statements.filter(({ name, text }) => pattern.test(name ?? text));
}

/**
 * Sends a recording again on a pool. `ids` maps recorded ids to those of this run; ids it does not
 * know are made up, ids that come back in rows are learned. Resolves with the map.
 */
export async function replay(pool, statements, mint, ids = new Map()) {
  const fresh = (id) => {
    const known = ids.get(id);
    if (known !== undefined) return known;
    const made = id[3] === "_" ? mint(id.slice(0, 3)) : randomUUID();
    ids.set(id, made);
    return made;
  };
  const answered = [];
  for (const statement of statements) {
    const before = answered.filter((_, at) => statements[at].ended < statement.begun);
    answered.push(
      Promise.all(before).then(async () => {
        const { name, text } = statement;
        const values = statement.values.map((value) => renamed(value, fresh));
        const { rows } = await pool.query({ name, text, values });
        learn(statement.rows, rows, ids);
      }),
    );
  }
  await Promise.all(answered);
  return ids;
}

function renamed(value, fresh) {
  if (typeof value === "string") return value.replaceAll(ID, fresh);
  return Array.isArray(value) ? value.map((one) => renamed(one, fresh)) : value;
}

function learn(recorded, rows, ids) {
  for (const [at, row] of recorded.entries()) {
    for (const [column, value] of Object.entries(row)) {
      const now = rows[at]?.[column];
      if (typeof value !== "string" || typeof now !== "string") continue;
      if (value.match(ID)?.[0] === value && !ids.has(value)) ids.set(value, now);
    }
  }
}
