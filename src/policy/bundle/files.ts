import { existsSync, realpathSync, statSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { InputError, IntegrityError } from '../../core/errors.ts'
import { canonicalJson, readCapped, resolveInside, sha256 } from '../../core/files.ts'
import { admitModel } from '../../core/onnx/admit.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import { parseAccuracyTable } from '../../plan/profile/accuracy.ts'
import { MAX_PROFILE_BYTES, parseProfile } from '../../plan/profile/file.ts'
import { profileAtPrecision, withRuntimeKv } from '../../plan/profile/precision.ts'
import type { Profile } from '../../plan/profile/types.ts'
import { BUNDLE_FILES, MANIFEST_FILE, MAX_MANIFEST_BYTES, parseManifest } from './manifest.ts'
import type { BundleFile, Manifest } from './manifest.ts'
import { numbersFromModel } from './numbers.ts'
import { SIGNATURE_FILE, readSignature } from './signature.ts'
import type { BundleSignature } from './signature.ts'
import { pairUnits } from '../../plan/price/pair.ts'
import { problemFromBundle } from './problem.ts'
import { checkContract, specOf } from './contract.ts'
import type { PolicyNumbers } from '../actor/learned.ts'

const MAX_BYTES: Readonly<Record<BundleFile, number>> = {
  'policy.onnx': 256 * 1024 * 1024,
  'edge.profile.json': MAX_PROFILE_BYTES,
  'cloud.profile.json': MAX_PROFILE_BYTES,
  'accuracy.json': 1024 * 1024,
}

/** A bundle whose every byte is the one that was exported, and whose contract is this program's. */
export interface Bundle {
  readonly folder: string
  readonly manifest: Manifest
  readonly problem: DecisionProblem
  /** policy.onnx. */
  readonly model: Uint8Array
  /** The actor's numbers as they stand in policy.onnx; no critics. */
  readonly numbers: PolicyNumbers
  /** Who signed the manifest; null: nobody. */
  readonly signature: BundleSignature | null
}

/** Whose signature a bundle must carry to be read. */
export interface ReadOptions {
  /**
   * Public keys (PEM texts) of which one must have signed the bundle. They come from outside of it, always.
   * Left out: a bundle need not be signed; none in the list: no bundle is good.
   */
  readonly trust?: readonly string[]
  /** What the sides run. Null or left out: not known, the profile's own precision is taken. */
  readonly precision?: {
    readonly edge: Profile['precision'] | null
    readonly cloud: Profile['precision'] | null
  }
  /** Profiles that take the place of the bundle's, as at another precision. */
  readonly profiles?: { readonly edge?: Profile; readonly cloud?: Profile }
}

/**
 * Reads a bundle. Throws IntegrityError naming the file whose bytes are not the manifest's or that no trusted
 * key signed, InputError for what is missing, too large, outside the folder, or of another version, and for
 * a policy.onnx that admitModel refuses; PrecisionError for figures of another precision
 * than `options.precision`.
 */
export function readBundle(folder: string, options: ReadOptions = {}): Bundle {
  if (!existsSync(join(folder, MANIFEST_FILE))) {
    throw new InputError({
      where: folder,
      expected: `a policy bundle (with ${MANIFEST_FILE})`,
      found: 'none',
      remedy: '`edgewise export <run> --out <folder>` makes one',
    })
  }
  const place = pathIn(folder, MANIFEST_FILE)
  const written = readCapped(place, MAX_MANIFEST_BYTES)
  const text = written.toString('utf8')
  // Bytes that are no UTF-8 are read as a replacement character: the seal would not see which.
  if (!Buffer.from(text).equals(written)) throw new IntegrityError(place, 'UTF-8 text', 'other bytes')
  // Before anything of it is believed.
  if (existsSync(join(folder, SIGNATURE_FILE))) pathIn(folder, SIGNATURE_FILE)
  const signature = readSignature(folder, written, options.trust)
  const manifest = parseManifest(text, place)
  const contents = Object.fromEntries(
    BUNDLE_FILES.map((name) => [name, readVerified(folder, name, manifest.files[name])]),
  ) as Record<BundleFile, Buffer>
  const profile = (side: 'edge' | 'cloud'): Profile => {
    const name = `${side}.profile.json` as const
    const own = parseProfile(contents[name].toString('utf8'), join(folder, name))
    if (own.precision !== manifest.devices[side].precision)
      throw differs(
        `${place}: devices.${side}`,
        `precision of ${name}`,
        own.precision,
        manifest.devices[side],
      )
    return profileToUse(own, side, join(folder, name), options)
  }
  const edge = profile('edge')
  const cloud = profile('cloud')
  if (edge.model.id !== cloud.model.id)
    throw differs(place, 'model of both profiles', edge.model, cloud.model)
  const accuracy = parseAccuracyTable(
    contents['accuracy.json'].toString('utf8'),
    join(folder, 'accuracy.json'),
    edge.model,
  )
  const problem = problemFromBundle(manifest.problem, { edge, cloud }, accuracy)
  const model = { id: edge.model.id, layers: edge.model.layers, units: pairUnits(problem.pair) }
  if (JSON.stringify(model) !== JSON.stringify(manifest.model)) {
    throw differs(`${place}: model`, 'model of the profiles', model, manifest.model)
  }
  checkContract(manifest, problem, place)
  const onnx = contents['policy.onnx']
  admitModel(onnx, { folder: null, where: join(folder, 'policy.onnx'), maxBytes: MAX_BYTES['policy.onnx'] })
  const numbers = numbersFromModel(onnx, specOf(manifest, edge.model.layers), join(folder, 'policy.onnx'))
  return { folder, manifest, problem, model: onnx, numbers, signature }
}

/**
 * The profile to decide on for one side: the bundle's own or the one given instead, at the precision that runs, with K/V
 * as the runtime there holds them.
 */
function profileToUse(own: Profile, side: 'edge' | 'cloud', where: string, options: ReadOptions): Profile {
  const given = options.profiles?.[side]
  if (given !== undefined && canonicalJson(given.model) !== canonicalJson(own.model))
    throw differs(`the given ${side} profile`, `model of ${where}`, own.model, given.model)
  const precision = options.precision?.[side] ?? null
  const profile = given ?? own
  if (precision === null) return profile
  const found = profileAtPrecision(profile, {
    precision,
    side,
    where: given === undefined ? where : `--${side}-profile`,
    instead: `run the ${side} with --precision ${profile.precision}`,
    replacement: `give it with --${side}-profile or export a bundle with it`,
  })
  return withRuntimeKv(found)
}

/** The bytes of one file, after its size and hash are found to be the manifest's. */
function readVerified(folder: string, name: BundleFile, expected: { sha256: string; bytes: number }): Buffer {
  const path = pathIn(folder, name)
  // The size first: a file that has grown is never read.
  const { size } = statSync(path)
  if (size !== expected.bytes) throw new IntegrityError(path, `${expected.bytes} bytes`, `${size} bytes`)
  const bytes = readCapped(path, MAX_BYTES[name])
  const found = sha256(bytes)
  if (found !== expected.sha256) throw new IntegrityError(path, `SHA-256 ${expected.sha256}`, found)
  return bytes
}

/** A file's path, once it is known to exist and, links followed, to lie in the folder. */
function pathIn(folder: string, name: string): string {
  const path = join(folder, name)
  resolveInside(folder, name)
  if (!existsSync(path)) {
    throw new InputError({
      where: path,
      expected: 'a file of the bundle',
      found: 'none',
      remedy: 'copy the whole folder',
    })
  }
  const real = relative(realpathSync(folder), realpathSync(path))
  if (real.split(sep).includes('..') || real !== name) {
    throw new InputError({
      where: path,
      expected: 'a file inside the bundle',
      found: 'a link that leaves it',
    })
  }
  return path
}

function differs(where: string, what: string, expected: unknown, found: unknown): InputError {
  return new InputError({
    where,
    expected: `the ${what}: ${JSON.stringify(expected)}`,
    found: JSON.stringify(found),
    remedy: 'export the bundle again',
  })
}
