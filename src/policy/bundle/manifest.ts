import { z } from 'zod'
import { InputError, IntegrityError, show } from '../../core/errors.ts'
import { sha256 } from '../../core/files.ts'
import { check, parseJson, sha256Schema } from '../../core/schema.ts'
import { bundleProblemSchema } from './problem.ts'
import { actionContractSchema, actorShapeSchema, observationContractSchema } from './contract.ts'

/** Name and version of the manifest's format. */
export const BUNDLE_SCHEMA = 'edgewise.bundle/1'

/** Files of a bundle besides its manifest. */
export const BUNDLE_FILES = [
  'policy.onnx',
  'edge.profile.json',
  'cloud.profile.json',
  'accuracy.json',
] as const
/** Name of a file in a bundle. */
export type BundleFile = (typeof BUNDLE_FILES)[number]

/** File name of the manifest. */
export const MANIFEST_FILE = 'manifest.json'
/** A manifest takes tens of kilobytes. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024

const text = z.string().max(2000)
const label = z.string().min(1).max(200)
const entry = z.strictObject({
  sha256: sha256Schema,
  bytes: z
    .int()
    .min(1)
    .max(256 * 1024 * 1024),
})
const device = z.strictObject({ id: label, precision: label, runtime: text, figures: text })
const count = z.int().min(0)

/** An evaluation as reported by `edgewise eval --json`. Only this is checked: each row has a cost and a provenance. */
export const evaluationSchema = z.looseObject({
  policies: z
    .record(
      label,
      z.looseObject({
        cost: z.looseObject({ mean: z.number() }),
        provenance: z
          .record(label, z.string().max(20_000))
          .refine((source) => Object.keys(source).length > 0, 'where the figures come from'),
      }),
    )
    .refine((rows) => Object.keys(rows).length > 0, 'at least one policy'),
  seeds: z.int().min(1),
  decisions: z.int().min(1),
})

/** Result of the parity check at export; `edgewise verify` repeats the check. */
const paritySummarySchema = z.strictObject({
  observations: count,
  rows: count,
  maxRawError: z.number().min(0),
  maxAbsError: z.number().min(0),
  greedyDisagreements: count,
  greedyBorderline: count,
  greedyBorderlineDifferences: count,
  sampledDisagreements: count,
  sampledBorderline: count,
  sampledBorderlineDifferences: count,
  engines: z.array(label).min(1).max(8),
})

/** Schema of manifest.json. */
const manifestSchema = z.strictObject({
  schema: z.literal(BUNDLE_SCHEMA),
  name: label,
  files: z.strictObject({
    'policy.onnx': entry,
    'edge.profile.json': entry,
    'cloud.profile.json': entry,
    'accuracy.json': entry,
  }),
  model: z.strictObject({ id: label, layers: z.int().min(1).max(255), units: z.int().min(1).max(255) }),
  devices: z.strictObject({ edge: device, cloud: device }),
  observation: observationContractSchema,
  action: actionContractSchema,
  actor: actorShapeSchema,
  problem: bundleProblemSchema,
  scenario: z.strictObject({ name: label, hash: sha256Schema }),
  /** The update after which the policy was saved in its run. */
  policy: z.strictObject({ update: count, validationCost: z.number().nullable() }),
  /** Null: not evaluated. */
  evaluation: evaluationSchema.nullable(),
  parity: paritySummarySchema,
  versions: z.record(label, text),
})

/** Contents of manifest.json. */
export type Manifest = z.infer<typeof manifestSchema>

/** The last field: SHA-256 of the file's text with zeros in its place. Every version of the format has it. */
const SEAL = /\n {2}"integrity": "([0-9a-f]{64})"\n\}\n$/
const ZEROS = '0'.repeat(64)

/** Formats manifest.json with its integrity hash, so that any changed byte is detected. */
export function formatManifest(manifest: Manifest): string {
  const open = `${JSON.stringify({ ...manifest, integrity: ZEROS }, null, 2)}\n`
  return seal(open, sha256(open))
}

/** Parses a manifest. Throws IntegrityError if the hash does not match, InputError for any other problem. */
export function parseManifest(content: string, where: string): Manifest {
  const written = SEAL.exec(content)?.[1]
  if (written === undefined) {
    throw new IntegrityError(where, 'a manifest that ends with its own SHA-256', 'none')
  }
  const found = sha256(seal(content, ZEROS))
  if (found !== written) throw new IntegrityError(where, `SHA-256 ${written}`, found)
  const { integrity: _, ...value } = parseJson(content, where) as Record<string, unknown>
  return checkManifest(value, where)
}

/** Checks a value against the schema; another version is refused with an error that names both. */
export function checkManifest(value: unknown, where: string): Manifest {
  const schema =
    value !== null && typeof value === 'object' ? (value as { schema?: unknown }).schema : undefined
  if (schema !== BUNDLE_SCHEMA) {
    throw new InputError({
      where: `${where}: schema`,
      expected: BUNDLE_SCHEMA,
      found: show(schema),
      remedy: 'use the version of edgewise that exported the bundle, or export the bundle again',
    })
  }
  return check(manifestSchema, value, where)
}

function seal(content: string, digits: string): string {
  return content.replace(SEAL, `\n  "integrity": "${digits}"\n}\n`)
}
