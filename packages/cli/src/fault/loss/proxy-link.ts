import { createFaultProxy, type FaultProxy } from "../proxy/fault-proxy.ts";
import type { LossyLink, LossyLinkOptions } from "./link.ts";

/** Our own proxy, whose chunks wait as TCP's retransmissions would. Works everywhere. */
export function openProxyLink(options: LossyLinkOptions): LossyLink {
  const { share, random, clock } = options;
  const proxies: FaultProxy[] = [];
  return {
    kind: "proxy",
    words: `Holdfast's own proxy: ${Math.round(share * 100)} % of what is sent waits as TCP's retransmissions would`,
    prefix: [],
    host: "127.0.0.1",
    async urlOf(host, port) {
      const proxy = createFaultProxy(`http://${host}:${port}`, clock);
      await proxy.start();
      proxies.push(proxy);
      return proxy.url();
    },
    async begin() {
      for (const proxy of proxies) proxy.setLoss({ share, random });
    },
    async end() {
      for (const proxy of proxies) proxy.setLoss(undefined);
    },
    lost: async () => proxies.reduce((sum, proxy) => sum + proxy.lost(), 0),
    async close() {
      for (const proxy of proxies) await proxy.stop();
    },
  };
}
