import { fieldOf } from "../api/api-client.ts";
import { toList } from "../api/job-calls.ts";
import { CommandFailure } from "../command-failure.ts";
import { apiClientFor } from "../commands/client-options.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";
import { parseDuration } from "../terminal/durations.ts";
import { textTable, type Column } from "../terminal/text-table.ts";
import type { EnrolmentRow, KeyRing, KeyRow } from "./key-ring.ts";
import type { KeysOptions } from "./options.ts";

/** Most keys listed. */
const MAX_LISTED = 500;
const ROLES = ["admin", "operator", "user", "agent"];

/** `holdfast keys create`. */
export async function create(
  _argument: string,
  options: KeysOptions,
  context: CommandContext,
): Promise<void> {
  const role = options.role ?? "user";
  if (!ROLES.includes(role)) {
    throw new CommandFailure(EXIT.refused, `--role: expected ${ROLES.join(", ")}, found ${role}`);
  }
  const lastsMs = options.expires === undefined ? null : parseDuration(options.expires);
  if (lastsMs === undefined) {
    throw new CommandFailure(EXIT.refused, "--expires: expected a duration such as 90d");
  }
  await withKeyRing(options, context, async (ring) => {
    const made = await ring.create({ name: options.name ?? "", role, lastsMs });
    if (options.json === true) {
      context.terminal.line(JSON.stringify(made));
      return;
    }
    context.terminal.note(`made key ${made.key.id} (${role}). It is shown only now:`);
    context.terminal.line(made.text);
  });
}

/** `holdfast keys list`. */
export async function list(
  _argument: string,
  options: KeysOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  await withKeyRing(options, context, async (ring) => {
    const keys = await ring.list(MAX_LISTED);
    if (options.json === true) {
      for (const key of keys) terminal.line(JSON.stringify(key));
    } else if (keys.length === 0) {
      terminal.note("no keys: everybody on this machine may do everything");
    } else {
      for (const line of textTable(keys, COLUMNS, terminal.resultColumns)) terminal.line(line);
    }
  });
}

const COLUMNS: readonly Column<KeyRow>[] = [
  { head: "ID", cell: (key) => key.id },
  { head: "ROLE", cell: (key) => key.role },
  { head: "STATE", cell: (key) => (key.revokedAt === null ? "valid" : "revoked") },
  { head: "EXPIRES", cell: (key) => key.expiresAt ?? "never" },
  { head: "LAST USED", cell: (key) => key.lastUsedAt ?? "never" },
  { head: "NAME", cell: (key) => key.name },
];

/** The control plane's own limits on a one-time token's time. */
const MIN_TTL_SECONDS = 60;
const MAX_TTL_SECONDS = 30 * 24 * 3_600;

/** `holdfast keys enroll`. */
export async function enroll(
  _argument: string,
  options: KeysOptions,
  context: CommandContext,
): Promise<void> {
  const ttlMs = parseDuration(options.ttl ?? "1h");
  const ttlSeconds = ttlMs === undefined ? 0 : Math.round(ttlMs / 1_000);
  if (ttlSeconds < MIN_TTL_SECONDS || ttlSeconds > MAX_TTL_SECONDS) {
    throw new CommandFailure(
      EXIT.refused,
      `--ttl: expected a duration from 1m to 30d, such as 1h, found ${options.ttl ?? ""}`,
    );
  }
  await withKeyRing(options, context, async (ring) => {
    const { name = "", machineName = null } = options;
    const made = await ring.enroll({ name, ttlSeconds, machineName });
    if (options.json === true) {
      context.terminal.line(JSON.stringify(made));
      return;
    }
    const { id, expiresAt } = made.enrolment;
    context.terminal.note(
      `made one-time token ${id}, for one machine until ${expiresAt}. It is shown only now:`,
    );
    context.terminal.line(made.text);
  });
}

/** `holdfast keys enrolments`. */
export async function enrolments(
  _argument: string,
  options: KeysOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  await withKeyRing(options, context, async (ring) => {
    const tokens = await ring.enrolments(MAX_LISTED);
    if (options.json === true) {
      for (const token of tokens) terminal.line(JSON.stringify(token));
    } else if (tokens.length === 0) {
      terminal.note("no one-time tokens; `holdfast keys enroll` makes one");
    } else {
      for (const line of textTable(tokens, ENROLMENT_COLUMNS, terminal.resultColumns)) {
        terminal.line(line);
      }
    }
  });
}

const ENROLMENT_COLUMNS: readonly Column<EnrolmentRow>[] = [
  { head: "ID", cell: (token) => token.id },
  { head: "STATE", cell: (token) => token.state },
  { head: "EXPIRES", cell: (token) => token.expiresAt },
  { head: "USED BY", cell: (token) => token.usedByName ?? "" },
  { head: "ONLY FOR", cell: (token) => token.machineName ?? "any machine" },
  { head: "NAME", cell: (token) => token.name },
];

/** `holdfast keys revoke`: a key, or a one-time token by its `enr_…`. */
export async function revoke(
  id: string,
  options: KeysOptions,
  context: CommandContext,
): Promise<void> {
  await withKeyRing(options, context, async (ring) => {
    if (id.startsWith("enr_")) {
      const token = await ring.revokeEnrolment(id);
      const words = `revoked one-time token ${token.id} (${token.name}); a key made with it goes on`;
      context.terminal.line(options.json === true ? JSON.stringify(token) : words);
      return;
    }
    const key = await ring.revoke(id);
    const text = `revoked ${key.id} (${key.name}); every replica refuses it within seconds`;
    context.terminal.line(options.json === true ? JSON.stringify(key) : text);
  });
}

async function withKeyRing(
  options: KeysOptions,
  context: CommandContext,
  use: (ring: KeyRing) => Promise<void>,
): Promise<void> {
  if (options.database === true) {
    // Only here, as it loads the database driver.
    const { withDatabaseKeys } = await import("./database-keys.ts");
    await withDatabaseKeys(options, context, use);
    return;
  }
  const api = apiClientFor(options, context);
  await use({
    async create({ name, role, lastsMs }) {
      const { systemClock } = await import("@holdfast/runtime/system");
      const expiresAt =
        lastsMs === null ? null : new Date(systemClock.now() + lastsMs).toISOString();
      const made = await api.json("/api/v1/keys", {
        method: "POST",
        json: { name, role, expiresAt },
      });
      return { key: fieldOf(made, "key") as KeyRow, text: String(fieldOf(made, "text")) };
    },
    async list(limit) {
      const page = await api.json(`/api/v1/keys?limit=${limit}`);
      return toList(page, "items") as readonly KeyRow[];
    },
    async revoke(id) {
      const path = `/api/v1/keys/${encodeURIComponent(id)}`;
      return (await api.json(path, { method: "DELETE" })) as KeyRow;
    },
    async enroll(wanted) {
      const made = await api.json("/api/v1/enrolments", { method: "POST", json: wanted });
      const enrolment = fieldOf(made, "enrolment") as EnrolmentRow;
      return { enrolment, text: String(fieldOf(made, "text")) };
    },
    async enrolments(limit) {
      const page = await api.json(`/api/v1/enrolments?limit=${limit}`);
      return toList(page, "items") as readonly EnrolmentRow[];
    },
    async revokeEnrolment(id) {
      const path = `/api/v1/enrolments/${encodeURIComponent(id)}`;
      return (await api.json(path, { method: "DELETE" })) as EnrolmentRow;
    },
  });
}
