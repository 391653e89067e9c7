/** Whoever starts and ends machines for one pool of a fleet: one port, whatever is behind it. */
import type {
  MachineOffer,
  MachineRequest,
  Provided,
  ProvidedMachine,
  ProviderKind,
} from "@holdfast/fleet";

/** See the head of this file. Calls reject only when the signal is aborted; what goes wrong is data. */
export interface MachineProvider {
  readonly kind: ProviderKind;
  /** What may be asked for, in the order in which it is to be tried; at least one. */
  readonly offers: readonly MachineOffer[];
  /**
   * All machines with the label of this fleet and pool, also those that nobody here knows. Ended ones
   * may be among them for a while, or not at all.
   */
  list(signal: AbortSignal): Promise<Provided<readonly ProvidedMachine[]>>;
  /**
   * Asks for one machine. Never repeats by itself a request that may have been heard: whoever asks looks
   * for the name first.
   */
  create(request: MachineRequest, signal: AbortSignal): Promise<Provided<ProvidedMachine>>;
  /**
   * Ends one; one that is not there any more has been ended. Resolves when the provider has heard. To be
   * called for machines that are listed as `ended` too: what they leave behind (the disk of a stopped
   * pod) may be billed until then. One of another label is refused as `invalid`.
   */
  terminate(ref: string, signal: AbortSignal): Promise<Provided<null>>;
  /**
   * What is wrong with the pool's settings as far as the provider can tell (an unknown GPU type), in
   * words; empty when nothing is. A key that is refused, or may not do this, is `unauthorized`: it can be
   * put right without touching the settings.
   */
  check(signal: AbortSignal): Promise<Provided<readonly string[]>>;
  /** Lets go of connections; machines live on. */
  close(): Promise<void>;
}
