import type { Queryable, Transaction } from "../platform/db.ts";
import type { Enrolment } from "./enrolment.ts";
import type { PageRequest } from "./pages.ts";

/** A token's row with its hashes; never leaves this feature. */
export interface StoredEnrolment extends Enrolment {
  readonly secretHash: string;
  readonly nonceHash: string | null;
  /** The database's clock when it was read. */
  readonly readAt: number;
}

interface EnrolmentRow {
  readonly id: string;
  readonly name: string;
  readonly secret_hash: string;
  readonly machine_name: string | null;
  readonly created_at: number;
  readonly expires_at: number;
  readonly revoked_at: number | null;
  readonly used_at: number | null;
  readonly used_by_name: string | null;
  readonly nonce_hash: string | null;
  readonly key_id: string | null;
  readonly read_at: number;
}

function toEnrolment(row: EnrolmentRow): StoredEnrolment {
  return {
    id: row.id,
    name: row.name,
    secretHash: row.secret_hash,
    machineName: row.machine_name,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    usedAt: row.used_at,
    usedByName: row.used_by_name,
    nonceHash: row.nonce_hash,
    keyId: row.key_id,
    readAt: row.read_at,
  };
}

const COLUMNS = "e.*, now() as read_at";

/** Inserts a token and gives the row as it stands. */
export async function insertEnrolment(
  db: Queryable,
  token: {
    readonly id: string;
    readonly name: string;
    readonly secretHash: string;
    readonly machineName: string | null;
    readonly createdBy: string;
    readonly ttlSeconds: number;
  },
): Promise<StoredEnrolment> {
  const { rows } = await db.query<EnrolmentRow>(
    `insert into enrolments as e (id, name, secret_hash, machine_name, created_by, expires_at)
     values ($1, $2, $3, $4, $5, now() + make_interval(secs => $6)) returning ${COLUMNS}`,
    [token.id, token.name, token.secretHash, token.machineName, token.createdBy, token.ttlSeconds],
  );
  const row = rows[0];
  if (row === undefined) throw new Error("insert into enrolments returned no row");
  return toEnrolment(row);
}

/** A token, without a lock. */
export async function findEnrolment(
  db: Queryable,
  id: string,
): Promise<StoredEnrolment | undefined> {
  const { rows } = await db.query<EnrolmentRow>(
    `select ${COLUMNS} from enrolments e where id = $1`,
    [id],
  );
  return rows[0] === undefined ? undefined : toEnrolment(rows[0]);
}

/** A token, locked until the transaction ends: it is used once. */
export async function lockEnrolment(
  tx: Transaction,
  id: string,
): Promise<StoredEnrolment | undefined> {
  const { rows } = await tx.query<EnrolmentRow>(
    `select ${COLUMNS} from enrolments e where id = $1 for update`,
    [id],
  );
  return rows[0] === undefined ? undefined : toEnrolment(rows[0]);
}

/** Writes who used a locked token, and for which key. */
export async function useEnrolment(
  tx: Transaction,
  id: string,
  use: { readonly machineName: string; readonly nonceHash: string; readonly keyId: string },
): Promise<void> {
  await tx.query(
    `update enrolments set used_at = now(), used_by_name = $2, nonce_hash = $3, key_id = $4
     where id = $1`,
    [id, use.machineName, use.nonceHash, use.keyId],
  );
}

/** Tokens newest first, from below the cursor. */
export async function selectEnrolments(
  db: Queryable,
  page: PageRequest,
): Promise<StoredEnrolment[]> {
  const { rows } = await db.query<EnrolmentRow>(
    `select ${COLUMNS} from enrolments e
     where $1::text is null or id < $1 order by id desc limit $2`,
    [page.cursor, page.limit],
  );
  return rows.map(toEnrolment);
}

/** Revokes a token; one that was used stays so, and its key goes on. Undefined: there is none. */
export async function revokeEnrolmentRow(
  db: Queryable,
  id: string,
): Promise<StoredEnrolment | undefined> {
  const { rows } = await db.query<EnrolmentRow>(
    `update enrolments e set revoked_at = coalesce(revoked_at, now()) where id = $1
     returning ${COLUMNS}`,
    [id],
  );
  return rows[0] === undefined ? undefined : toEnrolment(rows[0]);
}

/**
 * Removes tokens that were over so long ago, at most `limit`; returns how many. Those of keys that
 * machines have stay: by their nonces a machine gets its next key.
 */
export async function deleteOldEnrolments(
  db: Queryable,
  keptMs: number,
  limit: number,
): Promise<number> {
  const { rowCount } = await db.query(
    `delete from enrolments where id in (
       select id from enrolments e
       where expires_at < now() - make_interval(secs => $1::float8 / 1000)
         and not exists (
           select from api_keys k join machines m on m.id = k.machine_id where k.id = e.key_id)
       order by expires_at limit $2)`,
    [keptMs, limit],
  );
  return rowCount;
}
