import { createServer } from "node:net";

/** What an attempt to listen came to. */
export type PortTrial =
  | { readonly kind: "free"; readonly port: number }
  | { readonly kind: "taken" }
  /** The address is not of this machine, or the port needs more rights. */
  | { readonly kind: "refused"; readonly reason: string };

/** Whether a port can be listened on now; port 0 answers a free one. */
export async function tryPort(host: string, port: number): Promise<PortTrial> {
  const server = createServer();
  try {
    return await new Promise<PortTrial>((resolve) => {
      server.once("error", (error: NodeJS.ErrnoException) => {
        resolve(
          error.code === "EADDRINUSE"
            ? { kind: "taken" }
            : { kind: "refused", reason: error.message },
        );
      });
      server.listen({ host, port, exclusive: true }, () => {
        const address = server.address();
        const bound = typeof address === "object" && address !== null ? address.port : port;
        resolve({ kind: "free", port: bound });
      });
    });
  } finally {
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
  }
}
