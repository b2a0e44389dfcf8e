import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { z } from 'zod'
import type { scenarioSchema } from '../../../src/sim/scenario/schema.ts'

export type ScenarioInput = z.input<typeof scenarioSchema>

/** The smallest scenario with everything in it: the tiny model, data-sheet devices, constant links, bursts, tenants. */
export function tinyScenario(changes: Partial<ScenarioInput> = {}): ScenarioInput {
  return {
    schema: 'edgewise.scenario/1',
    name: 'tiny',
    description: 'for tests',
    model: 'tiny',
    edge: 'raspberry-pi-5',
    cloud: 'a100',
    links: {
      train: [
        { upMbps: 5, downMbps: 10, rttMs: 30 },
        { upMbps: 50, downMbps: 80, rttMs: 5 },
      ],
      validation: [{ upMbps: 10, downMbps: 20, rttMs: 20 }],
      test: [{ upMbps: 20, downMbps: 30, rttMs: 10 }],
    },
    workload: {
      arrivals: { kind: 'mmpp', burstRatio: 4, meanCalmSeconds: 2, meanBurstSeconds: 1 },
      lengths: { promptTokens: 40, outputTokens: 20 },
      predictorLogSd: 0.3,
      load: 0.6,
      requestsPerEpisode: 6,
      maxNewTokens: 32,
    },
    tenants: { levels: [0, 4], meanSojournSeconds: [2, 1] },
    cloudSlots: 4,
    service: { maxInFlight: 2 },
    objective: {
      weights: { latency: 1, energy: 0.1, cloud: 1, bytes: 0.1, accuracy: 1 },
      latency: { form: 'mean' },
    },
    plans: { boundaryBits: [16, 8], earlyExit: true },
    ...changes,
  }
}

/** Calls `work` with a folder of its own, which is gone afterwards. */
export async function inFolder<T>(work: (folder: string) => Promise<T> | T): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-'))
  try {
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Writes a config (JSON is YAML) and returns its path. */
export function writeConfig(folder: string, name: string, config: unknown): string {
  const path = join(folder, name)
  writeFileSync(path, JSON.stringify(config, null, 2))
  return path
}
