import type { LossyLink, LossyLinkOptions } from "./link.ts";
import { openNamespaceLink } from "./namespace-link.ts";
import { openProxyLink } from "./proxy-link.ts";
import { openToxiproxyLink } from "./toxiproxy-link.ts";

/**
 * The most real loss that this host permits: netem, then nft, both on a pair of interfaces and in a network
 * namespace of their own; then toxiproxy; then a proxy of ours. An interface that others use is never
 * touched, so nobody has to be asked. `tried` says why not the ones before.
 */
export async function openLossyLink(
  options: LossyLinkOptions,
): Promise<{ readonly link: LossyLink; readonly tried: readonly string[] }> {
  const tried: string[] = [];
  for (const open of [openNamespaceLink, openToxiproxyLink]) {
    const trial = await open(options);
    if (trial.kind === "open") return { link: trial.link, tried };
    tried.push(trial.why);
  }
  return { link: openProxyLink(options), tried };
}
