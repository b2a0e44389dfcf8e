import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { systemClock } from '../../src/core/clock.ts'
import { editManifest } from '../policy/bundleSupport.ts'
import { recordIo } from './io.ts'

const scratch = mkdtempSync(join(tmpdir(), 'edgewise-budgets-cli-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))
const at = (...names: string[]): string => join(scratch, ...names)

const PROFILE = resolve(import.meta.dirname, '../fixtures/serve/device.profile.json')
const BUNDLE = resolve(import.meta.dirname, '../fixtures/serve/bundle')
const BUDGETS = { energyJoules: null, accuracyLoss: null, cloudSeconds: 0.0001 }

function start(...argv: string[]) {
  const io = recordIo({ clock: systemClock, env: { XDG_CACHE_HOME: at('cache') } })
  return { io, code: runCli(argv, io, COMMANDS, '0.0.0') }
}

async function edgewise(...argv: string[]): Promise<string> {
  const { io, code } = start(...argv)
  expect(await code, io.err()).toBe(0)
  return io.out()
}

/** The built-in model on two devices that are alike, with a cloud near enough to be of use. */
function writeScenario(name: string, budgets: object): string {
  const link = { upMbps: 400, downMbps: 400, rttMs: 0.1 }
  const scenario = {
    schema: 'edgewise.scenario/1',
    name,
    description: 'a test',
    model: 'tales',
    edge: PROFILE,
    cloud: PROFILE,
    links: { train: [link], validation: [link], test: [link] },
    workload: {
      arrivals: { kind: 'poisson' },
      lengths: { promptTokens: 60, outputTokens: 12 },
      predictorLogSd: 0.3,
      load: 0.8,
      requestsPerEpisode: 20,
      maxNewTokens: 32,
    },
    tenants: { levels: [0, 2], meanSojournSeconds: [5, 5] },
    cloudSlots: 2,
    service: { maxInFlight: 2 },
    objective: {
      weights: { latency: 1, energy: 0, cloud: 0, bytes: 0, accuracy: 1 },
      latency: { form: 'mean' },
      budgets,
    },
    plans: { boundaryBits: [32], earlyExit: false },
  }
  const path = at(`${name}.scenario.yaml`)
  writeFileSync(path, JSON.stringify(scenario))
  return path
}

interface PolicyFigures {
  readonly edgeJoules: number
  readonly cloudSeconds: number
  readonly budgets: unknown
}

async function evaluate(scenario: string, planner: string): Promise<PolicyFigures> {
  const argv = ['--scenario', scenario, '--seeds', '2', '--runs', at('runs'), '--json'] as const
  const tuning = ['--tuning-episodes', '1', '--tuning-candidates', '1'] as const
  const { policies } = JSON.parse(await edgewise('eval', planner, ...argv, ...tuning)) as {
    policies: Record<string, PolicyFigures>
  }
  return policies[planner]
}

describe('budgets', () => {
  it('change what the planners decide, and their use is in the report', async () => {
    const none = { energyJoules: null, accuracyLoss: null, cloudSeconds: null }
    const free = await evaluate(writeScenario('free', none), 'drift-plus-penalty')
    const told = await evaluate(writeScenario('told', BUDGETS), 'drift-plus-penalty')
    expect(free.cloudSeconds).toBeGreaterThan(2 * BUDGETS.cloudSeconds)
    expect(told.cloudSeconds).toBeLessThan(0.8 * free.cloudSeconds)
    expect(free.budgets).toBeNull()
    expect(told.budgets).toMatchObject({
      accuracyLoss: null,
      cloudSeconds: { used: told.cloudSeconds, budget: BUDGETS.cloudSeconds },
    })
  })

  it('of a bundle are kept by the device that it serves on: what it used is in its metrics', async () => {
    const bundle = at('bundle')
    cpSync(BUNDLE, bundle, { recursive: true })
    const budgets = { energyJoules: 100, accuracyLoss: null, cloudSeconds: 0.05 }
    editManifest(bundle, (manifest) => ({ ...manifest, problem: { ...manifest.problem, budgets } }))
    const serving = ['--listen', '127.0.0.1:0', '--log', at('log'), '--json'] as const
    const { io, code } = start('edge', '--model', 'tales', '--bundle', bundle, ...serving)
    await expect.poll(() => io.out(), { timeout: 20_000 }).toContain('\n')
    const { url } = (JSON.parse(io.out().split('\n')[0]) as { serving: { url: string } }).serving
    const headers = { 'content-type': 'application/json', connection: 'close' }
    const body = JSON.stringify({ model: 'tales', prompt: 'Once there was', max_tokens: 8 })
    expect((await fetch(`${url}/v1/completions`, { method: 'POST', headers, body })).status).toBe(200)
    const metrics = await (await fetch(`${url}/metrics`, { headers })).text()
    io.interrupt()
    expect(await code).toBe(130)
    const shares = metrics.split('\n').filter((line) => line.startsWith('edgewise_budget_used_ratio{'))
    // Without a cloud all is done on the edge.
    expect(shares[0]).toMatch(/\{resource="energy"\} (?!0$)/)
    expect(shares.slice(1)).toEqual(['edgewise_budget_used_ratio{resource="cloud"} 0'])
  })
})
