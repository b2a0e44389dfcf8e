import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, rmdirSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { EdgewiseError, InputError } from '../../core/errors.ts'
import { canonicalJson, sha256, temporaryName, writeAtomic } from '../../core/files.ts'
import { check } from '../../core/schema.ts'
import type { Engine } from '../../core/engine/types.ts'
import { OBSERVATION_VERSION } from '../observation/observation.ts'
import { ACTION_VERSION } from '../action/planDecoder.ts'
import { pairUnits } from '../../plan/price/pair.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import { formatProfile } from '../../plan/profile/file.ts'
import type { Profile } from '../../plan/profile/types.ts'
import { policyModel } from '../actor/graph.ts'
import { readBundle } from './files.ts'
import {
  BUNDLE_FILES,
  BUNDLE_SCHEMA,
  MANIFEST_FILE,
  checkManifest,
  evaluationSchema,
  formatManifest,
} from './manifest.ts'
import type { BundleFile, Manifest } from './manifest.ts'
import { POLICY_METADATA } from './numbers.ts'
import { bundleProblem } from './problem.ts'
import { writeSignature } from './signature.ts'
import { checkSpec, contractOf } from './contract.ts'
import type { PolicyNumbers } from '../actor/learned.ts'
import { checkParity } from '../parity/parity.ts'
import type { ParityReport, ParitySizes } from '../parity/parity.ts'

/** The part of a scenario that an export needs; a Scenario (src/sim/scenario) has it. */
interface ExportScenario {
  readonly config: { readonly name: string; readonly cloudSlots: number }
  readonly hash: string
  readonly problem: DecisionProblem
  readonly terms: { readonly memoryBytes: number; readonly maxNewTokens: number }
}

/** What is exported. */
export interface ExportSource {
  readonly scenario: ExportScenario
  /** The trained numbers from the run. */
  readonly numbers: PolicyNumbers
  readonly about: { readonly update: number; readonly validationCost: number | null }
  /** An evaluation report (`edgewise eval --json`), checked for costs and provenance; null: not evaluated. */
  readonly evaluation: unknown
  /** Versions of the software that made it, by name. */
  readonly versions: Readonly<Record<string, string>>
}

/** Options of exportBundle. */
export interface ExportOptions {
  /** Replaces an existing bundle. Default false. */
  readonly replace?: boolean
  readonly sizes?: Partial<ParitySizes>
  /** Bytes of policy.onnx if they were not made by policyModel; they must pass the same parity check. */
  readonly model?: Uint8Array
  /** Ed25519 private key (PEM) that signs the manifest, and the name of its file. Default: not signed. */
  readonly sign?: { readonly pem: string; readonly where: string }
}

/** Result of an export. */
export interface ExportSummary {
  readonly folder: string
  readonly bytes: number
  readonly manifest: Manifest
  readonly parity: ParityReport
  readonly signed: boolean
}

/** policy.onnx does not compute what the numbers say. */
export class ParityError extends EdgewiseError {
  readonly report: ParityReport

  constructor(where: string, report: ParityReport) {
    const counts =
      `${report.greedyDisagreements} greedy and ${report.sampledDisagreements} sampled disagreements, ` +
      `largest error ${report.maxAbsError} over ${report.rows} rows`
    super(
      'E_PARITY',
      `${where}\n  expected: the outputs of the trained numbers on every engine\n  found: ${counts}\n  worst: ${report.worst ?? 'none'}`,
    )
    this.report = report
  }
}

/**
 * Writes a policy bundle to `outFolder` atomically. `engines` must contain ONNX Runtime native and WASM. If the file's
 * outputs differ from the trained numbers' on either, throws ParityError naming the worst case and leaves nothing
 * behind. Throws InputError for a target in use, an actor that does not fit, or a bad evaluation.
 */
export async function exportBundle(
  source: ExportSource,
  outFolder: string,
  engines: readonly Engine[],
  options: ExportOptions = {},
): Promise<ExportSummary> {
  const { scenario, numbers } = source
  const target = resolve(outFolder)
  checkTarget(outFolder, options.replace === true)
  checkEngines(engines)
  checkSpec(numbers.spec, scenario.problem, 'policy')
  const contents = contentsOf(source, options)
  const temporary = temporaryName(target)
  try {
    mkdirSync(temporary, { recursive: true })
    for (const name of BUNDLE_FILES) writeAtomic(join(temporary, name), contents[name])
    const parity = await checkParity(
      contents['policy.onnx'],
      numbers,
      scenario.problem,
      scenario.terms,
      engines,
      options.sizes,
    )
    if (!parity.ok) throw new ParityError(join(outFolder, 'policy.onnx'), parity)
    const manifest = manifestOf(source, basename(target), contents, parity)
    writeAtomic(join(temporary, MANIFEST_FILE), formatManifest(manifest))
    if (options.sign !== undefined) writeSignature(temporary, options.sign.pem, options.sign.where)
    // Checks the result by reading it as a user of the bundle does.
    readBundle(temporary)
    const bytes = readdirSync(temporary).reduce((sum, name) => sum + statSync(join(temporary, name)).size, 0)
    put(temporary, target)
    return { folder: outFolder, bytes, manifest, parity, signed: options.sign !== undefined }
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    throw error
  }
}

function contentsOf(source: ExportSource, options: ExportOptions): Record<BundleFile, Uint8Array> {
  const { numbers, scenario } = source
  const { edge, cloud, accuracy } = scenario.problem.pair
  const model =
    options.model ??
    policyModel(numbers.spec, numbers.parameters, numbers.normaliser, {
      [POLICY_METADATA.schema]: BUNDLE_SCHEMA,
      [POLICY_METADATA.observation]: String(OBSERVATION_VERSION),
      [POLICY_METADATA.action]: String(ACTION_VERSION),
    })
  return {
    'policy.onnx': model,
    'edge.profile.json': Buffer.from(formatProfile(edge.profile)),
    'cloud.profile.json': Buffer.from(formatProfile(cloud.profile)),
    'accuracy.json': Buffer.from(`${canonicalJson(accuracy)}\n`),
  }
}

function manifestOf(
  source: ExportSource,
  name: string,
  contents: Record<BundleFile, Uint8Array>,
  parity: ParityReport,
): Manifest {
  const { scenario, numbers, about, versions } = source
  const { pair } = scenario.problem
  const { memoryBytes, maxNewTokens } = scenario.terms
  const { cloudSlots } = scenario.config
  const entry = (file: BundleFile) => ({ sha256: sha256(contents[file]), bytes: contents[file].byteLength })
  const { observations, rows, maxRawError, maxAbsError, greedyDisagreements } = parity
  const { greedyBorderline, greedyBorderlineDifferences } = parity
  const { sampledDisagreements, sampledBorderline, sampledBorderlineDifferences } = parity
  const manifest = {
    schema: BUNDLE_SCHEMA,
    name,
    files: Object.fromEntries(BUNDLE_FILES.map((file) => [file, entry(file)])),
    model: { id: pair.model.id, layers: pair.model.layers, units: pairUnits(pair) },
    devices: { edge: deviceOf(pair.edge.profile), cloud: deviceOf(pair.cloud.profile) },
    ...contractOf(scenario.problem, numbers.spec),
    problem: bundleProblem(scenario.problem, { cloudSlots, memoryBytes, maxNewTokens }),
    scenario: { name: scenario.config.name, hash: scenario.hash },
    policy: { update: about.update, validationCost: about.validationCost },
    evaluation: evaluationOf(source.evaluation),
    parity: {
      observations,
      rows,
      maxRawError,
      maxAbsError,
      greedyDisagreements,
      greedyBorderline,
      greedyBorderlineDifferences,
      sampledDisagreements,
      sampledBorderline,
      sampledBorderlineDifferences,
      engines: parity.engines.map(({ engine, version }) => `${engine} ${version}`),
    },
    versions: { ...versions },
  }
  return checkManifest(manifest, MANIFEST_FILE)
}

/** Converted to JSON and back, so that values that JSON cannot store are refused now and not on reading. */
function evaluationOf(evaluation: unknown): Manifest['evaluation'] {
  if (evaluation === null || evaluation === undefined) return null
  return check(evaluationSchema, JSON.parse(JSON.stringify(evaluation)), 'evaluation')
}

function deviceOf({ device, precision, runtime, blocks }: Profile) {
  return {
    id: device.id,
    precision,
    runtime: `${runtime.name} ${runtime.version}`,
    figures: blocks.attention.decode.provenance.kind,
  }
}

function checkEngines(engines: readonly Engine[]): void {
  const names = engines.map((engine) => engine.info.name)
  if (names.includes('onnxruntime-node') && names.includes('onnxruntime-web')) return
  throw new InputError({
    where: 'export: engines',
    expected: 'ONNX Runtime native and WASM, both',
    found: names.join(', ') || 'none',
    remedy: 'export on a machine with a native ONNX Runtime; the bundle then runs anywhere',
  })
}

/** A new or empty folder, or a bundle that may be replaced. */
function checkTarget(folder: string, replace: boolean): void {
  if (!existsSync(folder)) return
  const isFolder = statSync(folder).isDirectory()
  if (isFolder && readdirSync(folder).length === 0) return
  const isBundle = isFolder && existsSync(join(folder, MANIFEST_FILE))
  if (isBundle && replace) return
  throw new InputError({
    where: folder,
    expected: 'a new or empty folder for the bundle',
    found: isBundle ? 'a bundle' : isFolder ? 'a folder with other files in it' : 'a file',
    remedy: isBundle ? 'choose another folder, or ask for it to be replaced' : 'choose another folder',
  })
}

/** Moves the finished folder into place; an older bundle is deleted only when the new one is there. */
function put(temporary: string, target: string): void {
  mkdirSync(dirname(target), { recursive: true })
  if (!existsSync(target)) {
    renameSync(temporary, target)
    return
  }
  if (readdirSync(target).length === 0) {
    rmdirSync(target)
    renameSync(temporary, target)
    return
  }
  const old = `${temporary}.old`
  renameSync(target, old)
  try {
    renameSync(temporary, target)
  } catch (error) {
    renameSync(old, target)
    throw error
  }
  rmSync(old, { recursive: true, force: true })
}
