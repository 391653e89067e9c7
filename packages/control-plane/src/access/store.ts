import { statement, toTimestamp, type Queryable } from "../platform/db.ts";
import type { ApiKey, RegisteredMachine, Role } from "./model.ts";
import type { PageRequest } from "./pages.ts";

/** A key's row with its hash; never leaves this feature. */
export interface StoredKey extends ApiKey {
  readonly secretHash: string;
}

interface KeyRow {
  id: string;
  name: string;
  role: Role;
  secret_hash: string;
  allowed_classes: string[] | null;
  created_at: number;
  last_used_at: number | null;
  expires_at: number | null;
  revoked_at: number | null;
  is_bound: boolean;
  machine_id: string | null;
}

function toStoredKey(row: KeyRow): StoredKey {
  return {
    id: row.id,
    name: row.name,
    role: row.role,
    secretHash: row.secret_hash,
    allowedClasses: row.allowed_classes,
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    isBound: row.is_bound,
    machineId: row.machine_id,
  };
}

/** A key to insert. */
export interface NewKey {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly secretHash: string;
  readonly allowedClasses: readonly string[] | null;
  readonly expiresAt: number | null;
  readonly isBound: boolean;
}

/** Inserts a key and gives the row as it stands. */
export async function insertKey(db: Queryable, key: NewKey): Promise<StoredKey> {
  const { rows } = await db.query<KeyRow>(
    `insert into api_keys (id, name, role, secret_hash, allowed_classes, expires_at, is_bound)
     values ($1, $2, $3, $4, $5, $6::timestamptz, $7) returning *`,
    [
      key.id,
      key.name,
      key.role,
      key.secretHash,
      key.allowedClasses,
      toTimestamp(key.expiresAt),
      key.isBound,
    ],
  );
  const row = rows[0];
  if (row === undefined) throw new Error("insert into api_keys returned no row");
  return toStoredKey(row);
}

const FIND_KEY = statement("access_find_key", "select * from api_keys where id = $1");

/** One key by its id. */
export async function findKey(db: Queryable, id: string): Promise<StoredKey | undefined> {
  const { rows } = await db.query<KeyRow>(FIND_KEY, [id]);
  return rows[0] === undefined ? undefined : toStoredKey(rows[0]);
}

/** Keys newest first, from below `cursor`; the caller asks for one more than it shows. */
export async function selectKeys(db: Queryable, page: PageRequest): Promise<StoredKey[]> {
  const { rows } = await db.query<KeyRow>(
    `select * from api_keys where $1::text is null or id < $1 order by id desc limit $2`,
    [page.cursor, page.limit],
  );
  return rows.map(toStoredKey);
}

/** Whether any key was ever made. Revoked ones count: they closed the door. */
export async function selectHasKeys(db: Queryable): Promise<boolean> {
  const { rows } = await db.query<{ any: boolean }>("select exists (select from api_keys) as any");
  return rows[0]?.any === true;
}

/** Revokes a key; the instant of the first revocation stays. Undefined when there is no such key. */
export async function revokeKeyRow(db: Queryable, id: string): Promise<StoredKey | undefined> {
  const { rows } = await db.query<KeyRow>(
    "update api_keys set revoked_at = coalesce(revoked_at, now()) where id = $1 returning *",
    [id],
  );
  return rows[0] === undefined ? undefined : toStoredKey(rows[0]);
}

const TOUCH_KEY = statement(
  "access_touch_key",
  `update api_keys set last_used_at = now()
   where id = $1 and (last_used_at is null or last_used_at < now() - make_interval(secs => $2))`,
);

/** Notes that a key was used, unless that was noted within the last `everyMs`. */
export async function touchKey(db: Queryable, id: string, everyMs: number): Promise<void> {
  await db.query(TOUCH_KEY, [id, everyMs / 1000]);
}

/**
 * Binds a key to the machine that it registers, in the transaction that holds the machine's row. False
 * when it is bound to another one already, when another valid key has that machine, or when the machine
 * was there before (`isNew` is false) and neither an earlier key of it was got with the same nonce, nor
 * this one with a token for a machine of its name, which had a key of its own.
 */
export async function bindKey(
  tx: Queryable,
  id: string,
  machine: RegisteredMachine,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `update api_keys k set machine_id = $2
     where id = $1 and is_bound and coalesce(machine_id, $2) = $2
       and (k.machine_id is not null or $3::boolean or exists (
         select from api_keys o
         join enrolments before on before.key_id = o.id
         join enrolments own on own.key_id = k.id and own.nonce_hash = before.nonce_hash
         where o.machine_id = $2 and o.id <> k.id)
         or exists (
         select from api_keys o
         join enrolments own on own.key_id = k.id and own.machine_name = $4
         where o.machine_id = $2 and o.id <> k.id))
       and not exists (
         select from api_keys o where o.machine_id = $2 and o.id <> k.id and o.revoked_at is null
           and (o.expires_at is null or o.expires_at > now()))`,
    [id, machine.id, machine.isNew, machine.nameBefore],
  );
  return rowCount > 0;
}

/** Whether somebody could still administer with a key: not revoked, not over. */
export async function selectHasAdminKey(db: Queryable): Promise<boolean> {
  const { rows } = await db.query<{ any: boolean }>(
    `select exists (
       select from api_keys where role = 'admin' and revoked_at is null
         and (expires_at is null or expires_at > now())) as any`,
  );
  return rows[0]?.any === true;
}
