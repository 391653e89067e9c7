/**
 * What is told and asked of whoever starts and ends machines for us. Machines are known by a label of
 * the fleet and by a name that is ours and used once, so that a machine which was asked for and never
 * written down is found again. The port itself is in the package `providers`.
 */
/** Which kind of provider. `static` machines were started by somebody else. */
export const PROVIDER_KINDS = ["static", "local", "runpod", "kubernetes"] as const;
/** One of {@link PROVIDER_KINDS}. */
export type ProviderKind = (typeof PROVIDER_KINDS)[number];

/** A machine as its provider tells of it. */
export interface ProvidedMachine {
  /** What the provider calls it: the only thing that `terminate` takes. */
  readonly ref: string;
  /** As it was asked for; the provider's own name for one that nobody asked for by name. */
  readonly name: string;
  /**
   * `pending`: not running yet; `running`: its host runs, which says nothing of the agent in it;
   * `ended`: it has ended, whoever ended it, and may be listed still; `ending`: it is on its way there.
   */
  readonly state: "pending" | "running" | "ending" | "ended";
  /** What the provider says of it, for people; null when it says nothing. */
  readonly reason: string | null;
  /**
   * The provider has no place for it: it was asked for, and waits, or was turned away, for no fault of
   * its own. Told only by providers that take a request before they have room for it.
   */
  readonly isUnplaced?: boolean;
  /** Of the offer that it was made from, where the provider tells it. */
  readonly offer: MachineOffer | null;
  /** US dollars an hour; null when it is not told. */
  readonly pricePerHour: number | null;
  /** Host or address at which its ports can be reached from here; null when it is not told. */
  readonly address: string | null;
  /** Epoch ms; null when it is not told. */
  readonly createdAt: number | null;
}

/** A kind of machine that may be had or not: what is tried, one after the other. */
export interface MachineOffer {
  /** As the provider calls it: `NVIDIA A100 80GB PCIe`; null: whatever there is. */
  readonly gpuType: string | null;
  /** Zone, region or data centre; null for any. */
  readonly zone: string | null;
  /** Cheaper, and taken away at any time. */
  readonly isSpot: boolean;
}

/** What is asked for. */
export interface MachineRequest {
  /**
   * Used once, ever: at most 40 characters of a-z, 0-9 and `-`. Where the provider's own names are
   * unique, asking again with the same name gives the same machine.
   */
  readonly name: string;
  readonly offer: MachineOffer;
  /** What the agent in it is given beside what the pool says: where to connect, its token, its name. */
  readonly env: Readonly<Record<string, string>>;
}

/** Why a call of a provider brought nothing. Expected, so it is data. */
export interface ProviderTrouble {
  readonly kind:
    /** It has none of this offer now: another one may be had. No machine's failure. */
    | "capacity"
    /** Too many calls, or room that is about to be free: the same is asked for again soon. */
    | "rate_limited"
    /** The key is refused, or may not do this: nothing helps but a person. */
    | "unauthorized"
    /** The request is wrong: an unknown GPU type, an image that cannot be. Nothing helps but a person. */
    | "invalid"
    /** No answer, a broken one, a server's error: try again. */
    | "unavailable";
  /** In words, without keys. */
  readonly message: string;
  /** The provider's word on when to try again; null without one. */
  readonly retryAfterMs: number | null;
  /** A machine may have been made all the same: look for its name before asking again. */
  readonly mayHaveHappened: boolean;
}

/** A value, or why there is none. */
export type Provided<T> =
  | { readonly kind: "ok"; readonly value: T }
  | { readonly kind: "trouble"; readonly trouble: ProviderTrouble };
