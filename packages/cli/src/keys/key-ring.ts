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

/** A one-time token as it is shown. Instants are RFC 3339. */
export interface EnrolmentRow {
  readonly id: string;
  readonly name: string;
  /** The one name under which it may be used; null for any. */
  readonly machineName: string | null;
  readonly state: string;
  readonly expiresAt: string;
  readonly usedByName: string | null;
}

/** What a one-time token is to be. */
export interface NewEnrolment {
  readonly name: string;
  readonly ttlSeconds: number;
  readonly machineName: string | null;
}

/** Where keys are kept, reached over HTTP or in the database itself. */
export interface KeyRing {
  /** `text` is the key itself, shown only here. */
  create(key: NewKey): Promise<{ readonly key: KeyRow; readonly text: string }>;
  /** Newest first. */
  list(limit: number): Promise<readonly KeyRow[]>;
  revoke(id: string): Promise<KeyRow>;
  /** A one-time token by which a machine gets a key; `text` is shown only here. */
  enroll(wanted: NewEnrolment): Promise<{
    readonly enrolment: EnrolmentRow;
    readonly text: string;
  }>;
  /** Newest first. */
  enrolments(limit: number): Promise<readonly EnrolmentRow[]>;
  revokeEnrolment(id: string): Promise<EnrolmentRow>;
}
