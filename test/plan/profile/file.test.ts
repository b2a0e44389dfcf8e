import fc from 'fast-check'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { loadModel } from '../../../src/model/catalog.ts'
import { BlockCosts } from '../../../src/plan/profile/costs.ts'
import { datasheetProfile } from '../../../src/plan/profile/datasheet.ts'
import { loadDevice } from '../../../src/plan/profile/loadDevice.ts'
import { formatProfile, parseProfile, readProfile, writeProfile } from '../../../src/plan/profile/file.ts'
import type { Profile } from '../../../src/plan/profile/types.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-profile-'))
afterAll(() => rmSync(folder, { recursive: true }))

const profile = datasheetProfile('raspberry-pi-5', loadModel('tiny'))
const content = formatProfile(profile)

describe('profile files', () => {
  test('what is written is what is read, and equal profiles are equal bytes', () => {
    const path = join(folder, 'deep', 'pi.json')
    writeProfile(path, profile)
    expect(readProfile(path)).toEqual(profile)
    expect(formatProfile(readProfile(path))).toBe(content)
    expect(readdirSync(join(folder, 'deep'))).toEqual(['pi.json'])
  })

  test('another version, a gap in the grid and a negative time are refused by place', () => {
    // A profile with parts that its type forbids.
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    const refuse = (change: (value: any) => void, message: RegExp) => {
      const value = JSON.parse(content)
      change(value)
      expect(() => parseProfile(JSON.stringify(value), 'pi.json')).toThrow(message)
    }
    refuse((p) => (p.schema = 'edgewise.profile/2'), /pi\.json: schema/)
    refuse((p) => p.blocks.embed.knots.pop(), /blocks\.embed/)
    refuse((p) => (p.blocks.ffn.first.seconds[1] = -1), /blocks\.ffn\.first\.seconds\.1/)
    refuse((p) => (p.model.contextTokens = 1024), /whole range of the model/)
    refuse((p) => p.blocks.attention.decode.seconds.push(1), /blocks\.attention\.decode\.seconds/)
    refuse((p) => (p.power.busyWatts = { value: 3 }), /power\.busyWatts\.provenance/)
    refuse((p) => (p.batch.factors[0] = 2), /batch\.factors/)
    refuse((p) => (p.surprise = 1), /pi\.json/)
  })

  test('what a call, a message and a session cost may be there or not, and calibration likewise', () => {
    const figure = { value: 2e-5, provenance: { kind: 'measured', source: 'a test' } } as const
    const term = { term: 'ttft', link: 'lte', medianRelativeError: -0.04, p95RelativeError: 0.2, noise: 0.02 }
    const more: Profile = {
      ...profile,
      dispatchSeconds: figure,
      wire: { messageSeconds: figure },
      load: { segmentSeconds: figure },
      calibration: {
        schema: 'edgewise.calibration/1',
        at: '2026-01-01T00:00:00.000Z',
        terms: [{ ...term, count: 12 }],
        verdict: 'met',
      },
    }
    expect(parseProfile(formatProfile(more), 'more')).toEqual(more)
    expect(new BlockCosts(more).dispatchSeconds).toBe(2e-5)
    expect(new BlockCosts(profile).dispatchSeconds).toBe(0)
    const refuse = (change: object, message: RegExp) =>
      expect(() => parseProfile(JSON.stringify({ ...more, ...change }), 'more')).toThrow(message)
    refuse({ dispatchSeconds: 1 }, /more: dispatchSeconds/)
    refuse({ load: { segmentSeconds: figure, surprise: 1 } }, /more: load/)
    refuse({ calibration: { ...more.calibration, schema: 'edgewise.calibration/2' } }, /calibration\.schema/)
    refuse({ calibration: { ...more.calibration, terms: [term] } }, /calibration\.terms\.0\.count/)
  })

  test('a damaged file gives a profile or an InputError, nothing else', () => {
    const attempt = (damaged: string) => {
      try {
        parseProfile(damaged, 'damaged')
      } catch (error) {
        expect(error).toBeInstanceOf(InputError)
      }
    }
    fc.assert(fc.property(fc.string(), attempt), { numRuns: 200 })
    fc.assert(
      fc.property(fc.jsonValue(), (value) => attempt(JSON.stringify(value))),
      { numRuns: 200 },
    )
    fc.assert(
      fc.property(fc.nat(content.length - 1), fc.nat(40), fc.string({ maxLength: 8 }), (at, length, patch) =>
        attempt(content.slice(0, at) + patch + content.slice(at + length)),
      ),
      { numRuns: 300 },
    )
  })
})

describe('user files', () => {
  test('a model and a device are one YAML file each', () => {
    const model = join(folder, 'mine.yaml')
    writeFileSync(
      model,
      'id: mine\nfamily: llama\nlayers: 2\nwidth: 64\nheads: 4\nkvHeads: 2\nheadDim: 16\nffnWidth: 128\nvocabulary: 100\ncontextTokens: 64\ntiedHead: false\n',
    )
    expect(loadModel(model).kvHeads).toBe(2)
    const device = join(folder, 'device.yaml')
    writeFileSync(device, JSON.stringify({ ...loadDevice('a100'), id: 'ours' }))
    expect(datasheetProfile(loadDevice(device), loadModel(model)).device.id).toBe('ours')
  })

  test('mistakes name the file and the field', () => {
    const bad = join(folder, 'bad.yaml')
    writeFileSync(
      bad,
      'id: mine\nfamily: llama\nlayers: 2\nwidth: 64\nheads: 4\nkvHeads: 3\nheadDim: 16\nffnWidth: 128\nvocabulary: 100\ncontextTokens: 64\ntiedHead: false\n',
    )
    expect(() => loadModel(bad)).toThrow(/bad\.yaml: kvHeads[\s\S]*divisor of heads/)
    expect(() => loadModel('gpt-5')).toThrow(/llama-7b/)
    expect(() => loadDevice('nokia-3310')).toThrow(InputError)
  })
})
