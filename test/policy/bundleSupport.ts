import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { partitionAction } from '../../envs/partition.ts'
import { randomStream } from '../../src/core/random.ts'
import { sha256 } from '../../src/core/files.ts'
import { loadModel } from '../../src/model/catalog.ts'
import { OBSERVATION_SIZE, encodeObservation } from '../../src/policy/observation/observation.ts'
import { NO_BUDGETS } from '../../src/plan/price/budgets.ts'
import { createPair } from '../../src/plan/price/pair.ts'
import type { DecisionProblem } from '../../src/plan/price/problem.ts'
import { actorSpec, initialParameters } from '../../src/policy/actor/actor.ts'
import type { ExportSource } from '../../src/policy/bundle/export.ts'
import { formatManifest, parseManifest } from '../../src/policy/bundle/manifest.ts'
import type { Manifest } from '../../src/policy/bundle/manifest.ts'
import type { PolicyNumbers } from '../../src/policy/actor/learned.ts'
import { randomSituation } from '../../src/policy/parity/samples.ts'
import { accuracyTable } from '../../src/plan/profile/accuracy.ts'
import { BlockCosts } from '../../src/plan/profile/costs.ts'
import { datasheetProfile } from '../../src/plan/profile/datasheet.ts'
import { cloudSlowdown } from '../../src/plan/price/cloud.ts'

export const SLOTS = 8

/** A problem on data-sheet devices, as a scenario makes it. */
export function problemOf(modelId: string, changes: Partial<DecisionProblem> = {}): DecisionProblem {
  const model = loadModel(modelId)
  const edge = new BlockCosts(datasheetProfile('raspberry-pi-5', model))
  const cloud = new BlockCosts(datasheetProfile('a100', model))
  const factors = Array.from({ length: SLOTS }, (_, i) => cloud.batchFactor(i + 1))
  return {
    pair: createPair(edge, cloud, accuracyTable(model)),
    objective: {
      weights: { latency: 1, energy: 0.01, cloud: 4, bytes: 0, accuracy: 10 },
      latency: { form: 'qoe', readingTokensPerSecond: 10 },
    },
    budgets: NO_BUDGETS,
    readingTokensPerSecond: 10,
    boundaryBits: [16, 8],
    earlyExit: true,
    exitThresholds: [0.6, 0.8],
    edgeLayersFirst: 0,
    edgeLayersLast: 0,
    cloudSlowdown: (active) => cloudSlowdown(factors, SLOTS, active),
    ...changes,
  }
}

export const TERMS = { memoryBytes: 8e9, maxNewTokens: 128 }

/** Untrained parameters with noise on all of them, and the normaliser of real observations. */
export function numbersOf(problem: DecisionProblem, seed = 1, noise = 0.15): PolicyNumbers {
  const action = partitionAction(problem)
  const spec = actorSpec(OBSERVATION_SIZE, action, {
    encoder: [32, 24],
    rowHidden: 20,
    critics: ['performance', 'stability'],
    criticHidden: [8],
  })
  const stream = randomStream(seed, 'test/bundle')
  const parameters = initialParameters(spec, action, seed)
  parameters.forEach((value, i) => (parameters[i] = value + noise * stream.normal()))
  return { spec, parameters, normaliser: normaliserOf(problem, seed) }
}

function normaliserOf(problem: DecisionProblem, seed: number): PolicyNumbers['normaliser'] {
  const stream = randomStream(seed, 'test/normaliser')
  const count = 200
  const rows = Array.from({ length: count }, () => {
    const out = new Float32Array(OBSERVATION_SIZE)
    encodeObservation(problem, randomSituation(problem, TERMS, stream), out)
    return out
  })
  const at = (i: number, f: (x: number) => number) => rows.reduce((sum, row) => sum + f(row[i]), 0) / count
  const mean = Float32Array.from({ length: OBSERVATION_SIZE }, (_, i) => at(i, (x) => x))
  const scale = mean.map((m, i) => 1 / Math.sqrt(at(i, (x) => (x - m) ** 2) + 1e-4))
  return { mean, scale }
}

/** What an export is given, in a test. */
export function sourceOf(problem: DecisionProblem, numbers = numbersOf(problem)): ExportSource {
  return {
    scenario: { config: { name: 'test', cloudSlots: SLOTS }, hash: 'a'.repeat(64), problem, terms: TERMS },
    numbers,
    about: { update: 7, validationCost: 1.25 },
    evaluation: {
      policies: {
        ppo: {
          cost: { mean: 1.5, ci95: [1.4, 1.6] },
          provenance: { figures: 'simulated', edge: 'modelled' },
        },
      },
      lowerBound: 1,
      headroom: null,
      seeds: 2,
      decisions: 10,
    },
    versions: { edgewise: '0.1.0', node: '20.19.0' },
  }
}

/** A folder that goes when the test does. */
export function scratch(): { path: (name: string) => string; names: () => string[]; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-bundle-'))
  return {
    path: (name) => join(folder, name),
    names: () => readdirSync(folder),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** Rewrites a bundle's manifest as someone would who can seal it too. */
export function editManifest(folder: string, edit: (manifest: Manifest) => unknown): void {
  const path = join(folder, 'manifest.json')
  const manifest = parseManifest(readFileSync(path, 'utf8'), path)
  writeFileSync(path, formatManifest(edit(structuredClone(manifest)) as Manifest))
}

/** Replaces a file and makes the manifest agree with it. */
export function replaceFile(folder: string, name: keyof Manifest['files'], bytes: Uint8Array): void {
  writeFileSync(join(folder, name), bytes)
  editManifest(folder, (manifest) => {
    manifest.files[name] = { sha256: sha256(bytes), bytes: bytes.byteLength }
    return manifest
  })
}
