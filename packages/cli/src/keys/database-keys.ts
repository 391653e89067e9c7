import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  createControlPlane,
  createDb,
  createEnrolment,
  enrolmentState,
  listEnrolments,
  revokeEnrolment,
  createEmbeddedPostgres,
  createKey,
  listKeys,
  revokeKey,
  type ApiKey,
  type Db,
  type Role,
  type ShownEnrolment,
} from "@holdfast/control-plane";
import { createLog, readHolder, type ControlPlaneSettings } from "@holdfast/control-plane/process";
import { isHoldfastError } from "@holdfast/contract";
import { createIdSource, NO_FAILPOINTS } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { CommandFailure } from "../command-failure.ts";
import type { KeysOptions } from "./options.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";
import { claimHome, explainStartFailure } from "../up/claim-home.ts";
import { readSettings } from "../up/settings.ts";
import { holdfastVersion } from "../version.ts";
import type { EnrolmentRow, KeyRing, KeyRow } from "./key-ring.ts";

const parts = { clock: systemClock, random: systemRandom, log: createLog({ level: "error" }) };

/**
 * Works on the keys in the database itself: the way in when no key is at hand, and to make the first
 * key before a public start. Beside a running Holdfast it joins its database; without one it brings
 * the database up, migrated, and down again.
 */
export async function withDatabaseKeys(
  options: KeysOptions,
  context: CommandContext,
  use: (ring: KeyRing) => Promise<void>,
): Promise<void> {
  const { home } = options;
  const settings = readSettings(home === undefined ? {} : { home }, context);
  const holder = await readHolder(settings.home);
  const useDb = (db: Db): Promise<void> => use(databaseRing(db));
  try {
    await (holder === undefined ? withOwnServer(settings, useDb) : joinServer(settings, useDb));
  } catch (error) {
    if (!isHoldfastError(error)) throw explainStartFailure(error);
    throw new CommandFailure(EXIT.refused, `${error.code}: ${error.message}`, { cause: error });
  }
}

async function withOwnServer(
  settings: ControlPlaneSettings,
  useDb: (db: Db) => Promise<void>,
): Promise<void> {
  const { ownership } = await claimHome(settings.home);
  const controlPlane = createControlPlane({
    ...parts,
    // Loopback and any port: nobody is to find it in the moment that it is up.
    settings: { ...settings, host: "127.0.0.1", port: 0 },
    version: holdfastVersion(),
    failpoints: NO_FAILPOINTS,
  });
  try {
    await controlPlane.start();
    await useDb(controlPlane.db());
  } finally {
    await controlPlane.stop();
    await ownership.release();
  }
}

async function joinServer(
  settings: ControlPlaneSettings,
  useDb: (db: Db) => Promise<void>,
): Promise<void> {
  const { databaseUrl } = settings;
  if (databaseUrl !== undefined) return withDatabaseUrl(databaseUrl, useDb);
  const postgres = createEmbeddedPostgres({
    ...parts,
    dir: join(settings.home, "postgres"),
    join: true,
  });
  await postgres.start();
  const db = createDb({ ...parts, target: () => postgres.connection(), applicationName: "keys" });
  try {
    await useDb(db);
  } finally {
    await db.close();
    await postgres.stop();
  }
}

async function withDatabaseUrl(
  databaseUrl: NonNullable<ControlPlaneSettings["databaseUrl"]>,
  useDb: (db: Db) => Promise<void>,
): Promise<void> {
  const target = (): string =>
    databaseUrl.kind === "text" ? databaseUrl.text : readFileSync(databaseUrl.path, "utf8").trim();
  const db = createDb({ ...parts, target, applicationName: "keys" });
  try {
    await useDb(db);
  } finally {
    await db.close();
  }
}

function databaseRing(db: Db): KeyRing {
  const ids = createIdSource(systemClock, systemRandom);
  return {
    async create({ name, role, lastsMs }) {
      const expiresAt = lastsMs === null ? null : systemClock.now() + lastsMs;
      const made = await createKey(db, ids, { name, role: role as Role, expiresAt });
      return { key: toRow(made.key), text: made.text };
    },
    async list(limit) {
      return (await listKeys(db, { cursor: null, limit })).items.map(toRow);
    },
    revoke: async (id) => toRow(await revokeKey(db, id)),
    async enroll(wanted) {
      const made = await createEnrolment(db, ids, { ...wanted, createdBy: "database" });
      return { enrolment: toEnrolmentRow(made.enrolment), text: made.text };
    },
    async enrolments(limit) {
      return (await listEnrolments(db, { cursor: null, limit })).items.map(toEnrolmentRow);
    },
    revokeEnrolment: async (id) => toEnrolmentRow(await revokeEnrolment(db, id)),
  };
}

function toEnrolmentRow(one: ShownEnrolment): EnrolmentRow {
  const { id, name, machineName, usedByName, expiresAt } = one;
  const state = enrolmentState(one, one.readAt);
  return { id, name, machineName, state, usedByName, expiresAt: new Date(expiresAt).toISOString() };
}

function toRow(key: ApiKey): KeyRow {
  return {
    id: key.id,
    name: key.name,
    role: key.role,
    lastUsedAt: instant(key.lastUsedAt),
    expiresAt: instant(key.expiresAt),
    revokedAt: instant(key.revokedAt),
  };
}

function instant(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}
