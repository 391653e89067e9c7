/** A key as it is shown. Instants are RFC 3339. */
export interface KeyRow {
  readonly id: string;
  readonly name: string;
  readonly role: string;
  readonly lastUsedAt: string | null;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
}

/** What to make. */
export interface NewKey {
  readonly name: string;
  readonly role: string;
  /** Null never expires. */
  readonly lastsMs: number | null;
}

/** Where keys are kept, reached over HTTP or in the database itself. */
export interface KeyRing {
  /** `text` is the key itself, shown only here. */
  create(key: NewKey): Promise<{ readonly key: KeyRow; readonly text: string }>;
  /** Newest first. */
  list(limit: number): Promise<readonly KeyRow[]>;
  revoke(id: string): Promise<KeyRow>;
}
