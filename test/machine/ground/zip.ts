/** Writes zip files without compression: what a wheel is. */
import { crc32 } from "node:zlib";

/** A file in an archive. */
export interface ZipEntry {
  readonly name: string;
  readonly content: Buffer;
}

const VERSION = 20;
/** 1980-01-01: the same entries give the same bytes. */
const DOS_DATE = 0x0021;
/** A regular file that everybody may read, in Unix terms. */
const UNIX_MODE = 0o100644;

/** The archive's bytes. */
export function zipOf(entries: readonly ZipEntry[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content } of entries) {
    const nameBytes = Buffer.from(name, "utf8");
    const about = Buffer.alloc(26);
    about.writeUInt16LE(VERSION, 0);
    about.writeUInt16LE(DOS_DATE, 8);
    about.writeUInt32LE(crc32(content), 10);
    about.writeUInt32LE(content.length, 14);
    about.writeUInt32LE(content.length, 18);
    about.writeUInt16LE(nameBytes.length, 22);
    const local = Buffer.concat([Buffer.from("PK\x03\x04", "latin1"), about, nameBytes, content]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(UNIX_MODE * 0x10000, 6);
    tail.writeUInt32LE(offset, 10);
    // Made by Unix (3), so that the mode counts.
    const madeBy = Buffer.from([VERSION, 3]);
    directory.push(
      Buffer.concat([Buffer.from("PK\x01\x02", "latin1"), madeBy, about, tail, nameBytes]),
    );
    parts.push(local);
    offset += local.length;
  }
  const index = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(index.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, index, end]);
}
