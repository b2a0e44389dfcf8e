import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { InputError, IntegrityError } from '../../core/errors.ts'
import { canonicalJson, readCapped, resolveInside, sha256 } from '../../core/files.ts'
import { check, parseJson, sha256Schema } from '../../core/schema.ts'
import { digestOf, filesBelow } from './folder.ts'
import { TARGETS } from './target.ts'

/** File name of a pack's manifest. */
export const PACK_MANIFEST = 'manifest.json'
/** What a manifest says it is; its version stands beside it. */
export const PACK_FORMAT = 'edgewise-pack'
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024

/** `manifest.json` of a pack: what it holds, for which machine, and the SHA-256 of every other file. */
export const packManifestSchema = z.strictObject({
  format: z.literal(PACK_FORMAT),
  version: z.literal(1),
  edgewise: z.string(),
  target: z.enum(TARGETS),
  /** Range of Node versions that run it. */
  node: z.string(),
  onnxruntime: z.string(),
  model: z.strictObject({
    id: z.string(),
    fingerprint: z.string(),
    /** What `--model` says on the device. */
    argument: z.string(),
  }),
  /** Name of the policy bundle in `bundle/`; null: a pack without one. */
  bundle: z.string().nullable(),
  files: z.record(z.string(), z.strictObject({ bytes: z.int().min(0), sha256: sha256Schema })),
})

/** The manifest of a pack. */
export type PackManifest = z.infer<typeof packManifestSchema>

/** A packed folder and its manifest. */
export interface Pack {
  readonly folder: string
  readonly manifest: PackManifest
  /** Of manifest.json: who compares it with what was printed at packing knows every byte. */
  readonly manifestSha256: string
}

/** The manifest of all that lies in a folder now; equal folders give equal bytes. */
export function describeFolder(folder: string, head: Omit<PackManifest, 'files'>): string {
  const files = Object.fromEntries(filesBelow(folder).map((path) => [path, digestOf(join(folder, path))]))
  const sorted = JSON.parse(canonicalJson({ ...head, files } satisfies PackManifest)) as unknown
  return `${JSON.stringify(sorted, null, 2)}\n`
}

/**
 * Reads a pack whose every byte is the one that was packed, and in which nothing lies besides. Throws IntegrityError
 * naming the first file that differs, InputError for what is no pack.
 */
export function readPack(folder: string): Pack {
  const place = join(folder, PACK_MANIFEST)
  if (!existsSync(place)) {
    throw new InputError({
      where: folder,
      expected: `a packed edge (with ${PACK_MANIFEST})`,
      found: 'none',
      remedy: '`edgewise pack --model <model> --out <folder>` makes one',
    })
  }
  const bytes = readCapped(place, MAX_MANIFEST_BYTES)
  const manifest = check(packManifestSchema, parseJson(bytes.toString('utf8'), place), place)
  // Before anything is read: a link or a device in the place of a file might never end.
  const there = filesBelow(folder)
  for (const [path, expected] of Object.entries(manifest.files)) compare(folder, path, expected)
  const stray = there.find((path) => path !== PACK_MANIFEST && !Object.hasOwn(manifest.files, path))
  if (stray !== undefined)
    throw new IntegrityError(join(folder, stray), 'no such file: the manifest has none', 'one')
  return { folder, manifest, manifestSha256: sha256(bytes) }
}

function compare(folder: string, path: string, expected: { bytes: number; sha256: string }): void {
  const full = resolveInside(folder, path)
  const size = statSync(full, { throwIfNoEntry: false })?.size
  if (size === undefined) throw new IntegrityError(full, 'a file', 'none')
  // The size first: a file that has grown is never read.
  if (size !== expected.bytes) throw new IntegrityError(full, `${expected.bytes} bytes`, `${size} bytes`)
  const { sha256: found } = digestOf(full)
  if (found !== expected.sha256) throw new IntegrityError(full, `SHA-256 ${expected.sha256}`, found)
}
