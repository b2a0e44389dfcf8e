import { closeSync, openSync, readSync } from 'node:fs'

/** What a file is that no reader of this project takes, and what its owner can do. */
interface ForeignFile {
  /** With an article: `a GGUF model`. */
  readonly what: string
  readonly remedy: string
}

interface Kind extends ForeignFile {
  /** Whether a file that begins so is of this kind; one character is one byte. */
  readonly begins: RegExp
}

const UNPACK = 'unpack it first'

/** Files that people hold for recordings, workloads or weights, by their first bytes. */
const KINDS: readonly Kind[] = [
  {
    begins: /^version https:\/\/git-lfs\.github\.com\//,
    what: 'a Git LFS pointer: a few lines that stand for the file',
    remedy: 'fetch the file itself: git lfs pull',
  },
  {
    begins: /^GGUF/,
    what: 'a GGUF model (llama.cpp)',
    remedy: 'take the same model as a Hugging Face directory (config.json and .safetensors)',
  },
  {
    begins: /^(?:tjgg|lmgg|fmgg)/,
    what: 'a GGML model (an old form of llama.cpp)',
    remedy: 'take the same model as a Hugging Face directory (config.json and .safetensors)',
  },
  {
    begins: /^\x80[\x02-\x05](?:[\x8a\x95}(]|c[a-z_]|ctorch)/,
    what: 'a Python pickle (a PyTorch checkpoint of before 1.6, or an object)',
    remedy: 'convert weights to .safetensors (a pickle runs code when it is opened)',
  },
  {
    begins: /^PK\x03\x04[^]{0,80}(?:data\.pkl|archive\/|model\/|consolidated)/,
    what: 'a PyTorch checkpoint (a zip with a pickle)',
    remedy: 'convert weights to .safetensors (a pickle runs code when it is opened)',
  },
  {
    begins: /^PK(?:\x03\x04|$)/,
    what: 'a zip archive (a spreadsheet, or a PyTorch checkpoint)',
    remedy: 'unpack it, save a spreadsheet as CSV, or convert weights to .safetensors',
  },
  { begins: /^\x1f\x8b/, what: 'a gzip archive', remedy: `${UNPACK}: gunzip -k FILE` },
  { begins: /^\x28\xb5\x2f\xfd/, what: 'a Zstandard archive', remedy: `${UNPACK}: unzstd FILE` },
  { begins: /^\xfd7zXZ\0/, what: 'an xz archive', remedy: `${UNPACK}: unxz -k FILE` },
  { begins: /^BZh[1-9]1AY&SY/, what: 'a bzip2 archive', remedy: `${UNPACK}: bunzip2 -k FILE` },
  { begins: /^7z\xbc\xaf\x27\x1c/, what: 'a 7-Zip archive', remedy: `${UNPACK}: 7z x FILE` },
  { begins: /^[^]{257}ustar/, what: 'a tar archive', remedy: `${UNPACK}: tar -xf FILE` },
  {
    begins: /^PAR1/,
    what: 'a Parquet file',
    remedy: 'traces of links are read from it; convert other tables to CSV',
  },
  { begins: /^\x89HDF\r\n/, what: 'an HDF5 file', remedy: 'convert weights to .safetensors, tables to CSV' },
  { begins: /^\x93NUMPY/, what: 'a NumPy array', remedy: 'save it as text: numpy.savetxt' },
  { begins: /^SQLite format 3\0/, what: 'an SQLite database', remedy: 'export the table as CSV' },
  {
    begins: /^(?:\xd4\xc3\xb2\xa1|\xa1\xb2\xc3\xd4|\x4d\x3c\xb2\xa1|\x0a\x0d\x0d\x0a)/,
    what: 'a packet capture (pcap)',
    remedy: 'count its bytes into a table: tshark -q -z io,stat,1 (or its CSV export)',
  },
  { begins: /^%PDF-/, what: 'a PDF document', remedy: 'take the data, not the document' },
  {
    begins: /^\s{0,9}<(?:!DOCTYPE html|html|head|body)/i,
    what: 'a web page (a download that returned a page, not the file)',
    remedy: 'download it again, from the link to the raw file',
  },
  {
    begins: /^\s{0,9}<\?xml/,
    what: 'an XML document',
    remedy: 'convert the table to CSV',
  },
  {
    begins: /^[^]{8}\{"(?:__metadata__|[^"]{1,300}":\{"(?:dtype|shape|data_offsets))/,
    what: 'a safetensors file',
    remedy: 'name the folder that holds it and its config.json',
  },
]

/** No kind looks further into a file. */
const HEAD_BYTES = 512

/** The kind of a file from its first bytes, or from its text; null for one that none of the known kinds is. */
export function nameForeign(head: Uint8Array | string): ForeignFile | null {
  const start = typeof head === 'string' ? head.slice(0, HEAD_BYTES) : latin1(head.subarray(0, HEAD_BYTES))
  const plain = start.replace(/^(?:\ufeff|\xef\xbb\xbf)/, '')
  const found = KINDS.find(({ begins }) => begins.test(plain))
  return found === undefined ? null : { what: found.what, remedy: found.remedy }
}

/** The kind of a file on disk; null where it cannot be read, which its reader reports. */
export function nameForeignFile(path: string): ForeignFile | null {
  const head = readHead(path, HEAD_BYTES)
  return head === null ? null : nameForeign(head)
}

/** The first bytes of a file, at most `bytes`; null where it cannot be read. */
export function readHead(path: string, bytes: number): Buffer | null {
  try {
    const handle = openSync(path, 'r')
    try {
      const head = Buffer.alloc(bytes)
      return head.subarray(0, readSync(handle, head, 0, bytes, 0))
    } finally {
      closeSync(handle)
    }
  } catch {
    return null
  }
}

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1')
