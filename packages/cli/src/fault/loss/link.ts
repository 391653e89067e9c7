import type { Clock, Random } from "@holdfast/runtime";
import type { Programs } from "./programs.ts";

/** A network on which packets can be lost, between callers and what they call. */
export interface LossyLink {
  readonly kind: "netem" | "nft" | "toxiproxy" | "proxy";
  /** What it does, in words. */
  readonly words: string;
  /** How a program has to be started to be behind the link: words before its command. */
  readonly prefix: readonly string[];
  /** Where it has to listen. */
  readonly host: string;
  /** The address at which callers reach, over the link, what listens at `host` and `port`. */
  urlOf(host: string, port: number): Promise<string>;
  /** Loses from now on. */
  begin(): Promise<void>;
  /** Loses no more. */
  end(): Promise<void>;
  /** What was lost so far; null where it cannot be counted. */
  lost(): Promise<number | null>;
  /** Takes it away, and with it everything it made on this host. */
  close(): Promise<void>;
}

/** How to make one. */
export interface LossyLinkOptions {
  /** 0..1. */
  readonly share: number;
  /** Whether what is called can be started behind the link; else only proxies are possible. */
  readonly canMove: boolean;
  readonly programs: Programs;
  readonly clock: Clock;
  readonly random: Random;
}

/** A link, or why this kind cannot be had here. */
export type LinkTrial =
  | { readonly kind: "open"; readonly link: LossyLink }
  | { readonly kind: "not_here"; readonly why: string };
