import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { resolveScenario } from '../../../src/sim/scenario/scenario.ts'
import { scenarioSchema } from '../../../src/sim/scenario/schema.ts'

const folder = new URL('../../../configs/', import.meta.url).pathname
const quickstart = parse(readFileSync(`${folder}quickstart.scenario.yaml`, 'utf8')) as { service: object }

/** The quickstart's scenario with another `service.replanAfterOutageSeconds`. */
function parsed(service: object) {
  return scenarioSchema.parse({ ...quickstart, service: { ...quickstart.service, ...service } })
}

describe('service.replanAfterOutageSeconds', () => {
  it('is 3 s unless said otherwise, and refuses what is no duration', () => {
    expect(parsed({}).service.replanAfterOutageSeconds).toBe(3)
    expect(() => parsed({ replanAfterOutageSeconds: -1 })).toThrow()
    expect(() => parsed({ replanAfterOutageSeconds: '3 s' })).toThrow()
  })

  it.each([
    [{}, 3],
    [{ replanAfterOutageSeconds: 1.5 }, 1.5],
    [{ replanAfterOutageSeconds: 0 }, null],
    [{ replanAfterOutageSeconds: null }, null],
  ])('%o makes worlds that detect outages after %s s', async (service, outageSeconds) => {
    const scenario = await resolveScenario(parsed(service), folder)
    expect(scenario.world('train', 1).outageSeconds).toBe(outageSeconds)
  })
})
