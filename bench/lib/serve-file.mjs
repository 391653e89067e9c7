/** A process that serves one file over HTTP on a port of its own, which it prints. */
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";

const [path] = process.argv.slice(2);
const size = statSync(path).size;
const server = createServer((request, response) => {
  response.on("error", () => undefined);
  const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
  const range = from > 0 ? { "content-range": `bytes ${from}-${size - 1}/${size}` } : {};
  response.writeHead(from > 0 ? 206 : 200, { "content-length": size - from, ...range });
  createReadStream(path, { start: from, highWaterMark: 1024 * 1024 }).pipe(response);
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`${server.address().port}\n`));
