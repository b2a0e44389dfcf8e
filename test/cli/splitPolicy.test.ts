import { writeFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { exportRun } from '../../src/cli/json/bundle.ts'
import type { ModelSpec } from '../../src/model/spec.ts'
import { at, CACHE, edgewise, model, NEW, openCloud, PROMPT, removeWorld, spec } from './splitWorld.ts'

afterAll(removeWorld)

describe('a policy that decides where', () => {
  const NUMBERS = { totalUpdates: 1, stepsPerUpdate: 8, minibatch: 8, epochs: 1 }

  /** The bundle of a policy that was hardly trained, for a model of this shape. */
  async function trainBundle(name: string, shape: ModelSpec): Promise<string> {
    const link = { upMbps: 5, downMbps: 20, rttMs: 30 }
    const scenario = {
      schema: 'edgewise.scenario/1',
      name,
      description: 'a test',
      model: at(`${name}.yaml`),
      edge: 'raspberry-pi-5',
      cloud: 'a100',
      links: { train: [link], validation: [link], test: [link] },
      workload: {
        arrivals: { kind: 'poisson' },
        lengths: { promptTokens: 20, outputTokens: 12 },
        predictorLogSd: 0.3,
        load: 0.5,
        requestsPerEpisode: 4,
        maxNewTokens: 32,
      },
      tenants: { levels: [0, 2], meanSojournSeconds: [5, 5] },
      cloudSlots: 2,
      service: { maxInFlight: 2 },
      objective: {
        weights: { latency: 1, energy: 0, cloud: 1, bytes: 0, accuracy: 1 },
        latency: { form: 'mean' },
      },
      plans: { boundaryBits: [32], earlyExit: false },
    }
    const training = {
      schema: 'edgewise.training/1',
      scenario: `${name}.scenario.yaml`,
      environments: 1,
      ppo: { ...NUMBERS, encoder: [8], criticHidden: [8], rowHidden: 8 },
      validation: { everyUpdates: 1, episodes: 1 },
      checkpointEveryUpdates: 1,
    }
    writeFileSync(at(`${name}.yaml`), JSON.stringify(shape))
    writeFileSync(at(`${name}.scenario.yaml`), JSON.stringify(scenario))
    writeFileSync(at(`${name}.train.yaml`), JSON.stringify(training))
    const trained = await edgewise('train', at(`${name}.train.yaml`), '--out', at(`${name}-run`), '--json')
    expect(trained.code, trained.err).toBe(0)
    const sizes = { random: 64, walks: 16, ties: 16 }
    await exportRun(at(`${name}-run`), at(`${name}-bundle`), { evaluation: null, replace: false, sizes })
    return at(`${name}-bundle`)
  }

  it('measures the link, says what it decides, and gives the same text; alone it stays alone', async () => {
    const bundle = await trainBundle('same', { ...spec, id: 'same' })
    const argv = ['edge', '--model', model, ...CACHE, ...PROMPT, ...NEW]
    const whole = await edgewise(...argv, '--plan', 'edge')
    const cloud = await openCloud()
    const decided = await edgewise(...argv, '--bundle', bundle, '--cloud', cloud.address)
    await cloud.stop()
    expect(decided.code, decided.err).toBe(0)
    expect(decided.out).toBe(whole.out)
    expect(decided.err).toMatch(
      /^same-bundle decides: .*, because of RTT .* up, .* down; prompt \d+, answer up to 12/,
    )
    const alone = await edgewise(...argv, '--bundle', bundle)
    expect(alone.err).toContain('decides: all on the edge')
    expect(alone.out).toBe(whole.out)
  })

  it('must be one for this model', async () => {
    const bundle = await trainBundle('larger', { ...spec, id: 'larger', layers: 3 })
    const { code, err } = await edgewise('edge', '--model', model, ...CACHE, ...PROMPT, '--bundle', bundle)
    expect(code).toBe(2)
    expect(err).toContain('a policy for small (layers 2)')
    expect(err).toContain('one for larger (layers 3)')
  })
})
