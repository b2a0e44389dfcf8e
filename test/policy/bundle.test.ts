import { cpSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EdgewiseError, InputError, IntegrityError } from '../../src/core/errors.ts'
import { randomStream } from '../../src/core/random.ts'
import {
  encodeObservation,
  OBSERVATION_SIZE,
  OBSERVATION_VERSION,
} from '../../src/policy/observation/observation.ts'
import { ACTION_VERSION } from '../../src/policy/action/planDecoder.ts'
import { readBundle } from '../../src/policy/bundle/files.ts'
import {
  BUNDLE_FILES,
  checkManifest,
  formatManifest,
  parseManifest,
} from '../../src/policy/bundle/manifest.ts'
import type { Manifest } from '../../src/policy/bundle/manifest.ts'
import { SIGNATURE_FILE, writeSignature } from '../../src/policy/bundle/signature.ts'
import { openParityEngines, verifyBundle } from '../../src/policy/bundle/verify.ts'
import { NO_BUDGETS } from '../../src/plan/price/budgets.ts'
import { exportBundle } from '../../src/policy/bundle/export.ts'
import { LearnedPolicy } from '../../src/policy/actor/learned.ts'
import { randomSituation } from '../../src/policy/parity/samples.ts'
import { keyIdOf } from '../../src/core/trust/dsse.ts'
import { decodeModel } from '../../src/core/onnx/read.ts'
import { encodeModel } from '../../src/core/onnx/write.ts'
import { editManifest, numbersOf, problemOf, replaceFile, scratch, sourceOf, TERMS } from './bundleSupport.ts'

const problem = problemOf('tiny')
const numbers = numbersOf(problem)
const folder = scratch()
const whole = folder.path('whole')
const ALL = [...BUNDLE_FILES, 'manifest.json'] as const

beforeAll(async () => {
  const { engines } = await openParityEngines()
  await exportBundle(sourceOf(problem, numbers), whole, engines, {
    sizes: { random: 50, walks: 10, ties: 10 },
  })
  for (const engine of engines) await engine.close()
})
afterAll(() => folder.remove())

/** A copy of the bundle to spoil. */
function copy(name: string): string {
  const path = folder.path(name)
  rmSync(path, { recursive: true, force: true })
  cpSync(whole, path, { recursive: true })
  return path
}

function refusal(path: string): EdgewiseError {
  try {
    readBundle(path)
  } catch (error) {
    expect(error).toBeInstanceOf(EdgewiseError)
    return error as EdgewiseError
  }
  throw new Error(`${path} was read`)
}

describe('a bundle', () => {
  test('gives back the numbers and the problem, to the bit', () => {
    const bundle = readBundle(whole)
    const actorSize = bundle.numbers.parameters.length
    expect(bundle.numbers.parameters).toEqual(numbers.parameters.slice(0, actorSize))
    expect(bundle.numbers.normaliser).toEqual(numbers.normaliser)
    const [before, after] = [problem, bundle.problem].map((from, i) => {
      return new LearnedPolicy(from, i === 0 ? numbers : bundle.numbers)
    })
    const stream = randomStream(1, 'bundle')
    const [a, b] = [0, 1].map(() => new Float32Array(OBSERVATION_SIZE))
    for (let i = 0; i < 300; i++) {
      const situation = randomSituation(problem, TERMS, stream)
      encodeObservation(problem, situation, a)
      encodeObservation(bundle.problem, situation, b)
      expect(b).toEqual(a)
      expect(after.decide(situation)).toEqual(before.decide(situation))
    }
    const { cloudSlowdown: _, pair: _pair, ...rest } = bundle.problem
    const { cloudSlowdown: _own, pair: _ownPair, ...expected } = problem
    expect(rest).toEqual(expected)
  })

  test('has K/V as the runtime holds them where it decides on a device, though a data sheet models them smaller', () => {
    const kv = (precision?: 'int8'): number =>
      readBundle(whole, { precision: { edge: precision ?? null, cloud: null } }).problem.pair
        .kvBytesPerElement
    expect([kv(), kv('int8')]).toEqual([2, 4])
  })

  test('carries the budgets; one from before budgets were exported opens without any', async () => {
    const budgets = { energyJoules: 5, accuracyLoss: null, cloudSeconds: 0.05 }
    const path = folder.path('budgets')
    const { engines } = await openParityEngines()
    const sizes = { random: 5, walks: 2, ties: 2 }
    await exportBundle(sourceOf({ ...problem, budgets }, numbers), path, engines, { sizes })
    for (const engine of engines) await engine.close()
    const { problem: read, manifest } = readBundle(path)
    expect([read.budgets, manifest.problem.budgets]).toEqual([budgets, budgets])
    expect(readBundle(whole).manifest.problem).not.toHaveProperty('budgets')
    expect(readBundle(whole).problem.budgets).toEqual(NO_BUDGETS)
    editManifest(path, (edited) => {
      const over = { ...edited.problem, budgets: { ...budgets, energyJoules: -1 } }
      return { ...edited, problem: over }
    })
    expect(refusal(path).message).toContain('problem.budgets.energyJoules')
  })

  test.each(ALL)('with one changed byte in %s is refused by that name', (name) => {
    const path = copy('changed')
    const bytes = readFileSync(join(whole, name))
    const places = new Set([0, 1, Math.floor(bytes.length / 2), bytes.length - 2, bytes.length - 1])
    const stream = randomStream(2, name)
    while (places.size < 60) places.add(stream.integer(bytes.length))
    for (const at of places) {
      const changed = Buffer.from(bytes)
      changed[at] ^= 1 << stream.integer(8)
      writeFileSync(join(path, name), changed)
      const error = refusal(path)
      expect(error, `byte ${at}`).toBeInstanceOf(IntegrityError)
      expect(error.message.split('\n')[0]).toBe(join(path, name))
    }
  })

  test.each(ALL)('with %s missing, cut short or linked away is refused by that name', (name) => {
    const path = copy('short')
    truncateSync(join(path, name), 100)
    expect(refusal(path)).toBeInstanceOf(IntegrityError)
    rmSync(join(path, name))
    expect(refusal(path).message).toContain(name)
    // The very bytes, but elsewhere.
    cpSync(join(whole, name), folder.path('elsewhere'))
    symlinkSync(folder.path('elsewhere'), join(path, name))
    expect(refusal(path).message).toMatch(/a link that leaves it/)
  })

  test('that has grown is refused before it is read', () => {
    const path = copy('grown')
    truncateSync(join(path, 'policy.onnx'), 2 ** 33)
    expect(refusal(path).message).toMatch(/found: 8589934592 bytes/)
    truncateSync(join(path, 'manifest.json'), 2 ** 33)
    expect(refusal(path).message).toMatch(/at most 4194304 bytes/)
  })

  test('works from wherever it is moved to', () => {
    const path = copy('moved')
    renameSync(path, folder.path('elsewhere-too'))
    expect(readBundle(folder.path('elsewhere-too')).manifest).toEqual(readBundle(whole).manifest)
  })

  test.each([
    ['observation', OBSERVATION_VERSION],
    ['action', ACTION_VERSION],
  ] as const)('of another %s contract is refused by naming both versions', (part, own) => {
    const path = copy('version')
    editManifest(path, (manifest) => ({ ...manifest, [part]: { ...manifest[part], version: own + 1 } }))
    const { message } = refusal(path)
    expect(message).toContain(`version ${own} of the ${part} contract (this program's)`)
    expect(message).toContain(`version ${own + 1} (the bundle's)`)
  })

  test.each<[string, (manifest: Manifest) => unknown, RegExp]>([
    [
      'another schema',
      (m) => ({ ...m, schema: 'edgewise.bundle/2' }),
      /edgewise\.bundle\/1\n.*edgewise\.bundle\/2/,
    ],
    [
      'another name in the observation',
      (m) => ((m.observation.names[3] = 'weather'), m),
      /observation\.names\.3/,
    ],
    ['another order of choices', (m) => (m.action.planWideChoices.reverse(), m), /planWideChoices\.0/],
    ['other bits than the choices', (m) => ((m.problem.boundaryBits = [4]), m), /planWideChoices/],
    ['another model', (m) => ((m.model.id = 'gpt2'), m), /manifest\.json: model/],
    ['an unknown file', (m) => ({ ...m, files: { ...m.files, 'x.sh': m.files['policy.onnx'] } }), /x\.sh/],
    ['a path as a file', (m) => ({ ...m, files: { ...m.files, '../x': m.files['policy.onnx'] } }), /\.\.\/x/],
    [
      'one file too few',
      (m) => ({ ...m, files: { 'policy.onnx': m.files['policy.onnx'] } }),
      /edge\.profile/,
    ],
    ['another width of the encoder', (m) => ((m.actor.encoder = [65_536, 24]), m), /encoder\.0\.weight/],
  ])('with %s, sealed again, is refused', (_name, edit, expected) => {
    const path = copy('edited')
    editManifest(path, edit)
    const error = refusal(path)
    expect(error).toBeInstanceOf(InputError)
    expect(error.message).toMatch(expected)
    expect(error.exitCode).toBe(2)
  })

  test('whose parameters are no numbers, lie elsewhere or are gone is refused', () => {
    const model = decodeModel(readFileSync(join(whole, 'policy.onnx')))
    const spoil = (change: (name: string) => object | null): string => {
      const path = copy('spoilt')
      const initializers = model.graph.initializers.flatMap((initializer) => {
        const changed = initializer.name === 'encoder.0.bias' ? change(initializer.name) : initializer
        return changed === null ? [] : [changed as typeof initializer]
      })
      replaceFile(path, 'policy.onnx', encodeModel({ ...model, graph: { ...model.graph, initializers } }))
      return refusal(path).message
    }
    const tensor = { dtype: 'float32', dims: [32] } as const
    const data = new Float32Array(32).fill(NaN)
    expect(spoil((name) => ({ name, tensor: { ...tensor, data } }))).toMatch(
      /encoder\.0\.bias\[0\][\s\S]*NaN/,
    )
    const external = { location: '../../secret', offsetBytes: 0, lengthBytes: 128 }
    expect(spoil((name) => ({ name, ...tensor, external }))).toMatch(/all data inside the file/)
    expect(spoil(() => null)).toMatch(/encoder\.0\.bias\n.*float32\[32\]/)
  })

  test('whose graph computes something else is found out by verify', async () => {
    const path = copy('graph')
    const model = decodeModel(readFileSync(join(whole, 'policy.onnx')))
    const nodes = model.graph.nodes.map((node) =>
      node.opType === 'Tanh' ? { ...node, opType: 'Sin' } : node,
    )
    replaceFile(path, 'policy.onnx', encodeModel({ ...model, graph: { ...model.graph, nodes } }))
    const report = await verifyBundle(path, { sizes: { random: 50, walks: 10, ties: 10 } })
    expect(report).toMatchObject({ ok: false, absent: [] })
    expect(report.worst).toMatch(/^onnxruntime-/)
    expect(report.engines).toHaveLength(2)
  })
})

describe('the manifest', () => {
  const text = (): string => readFileSync(join(whole, 'manifest.json'), 'utf8')

  test('is the same after reading and writing', () => {
    expect(formatManifest(parseManifest(text(), 'm'))).toBe(text())
  })

  test('refuses any text with an error of ours', () => {
    const problems = (read: () => unknown): void => {
      try {
        read()
      } catch (error) {
        expect(error).toBeInstanceOf(EdgewiseError)
      }
    }
    fc.assert(
      fc.property(fc.string({ maxLength: 300 }), (garbage) => problems(() => parseManifest(garbage, 'm'))),
      { numRuns: 200 },
    )
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(() => checkManifest(value, 'm')).toThrow(InputError)
        // Sealed like a real one.
        problems(() => parseManifest(formatManifest(value as unknown as Manifest), 'm'))
      }),
      { numRuns: 200 },
    )
  })

  test('with any field replaced is accepted as it stands or refused by name, never worse', () => {
    const manifest = parseManifest(text(), 'm')
    const path = copy('fuzzed')
    const places = placesOf(manifest, [])
    let refused = 0
    fc.assert(
      fc.property(fc.constantFrom(...places), fc.jsonValue({ maxDepth: 1 }), (place, value) => {
        writeFileSync(join(path, 'manifest.json'), formatManifest(replaceAt(manifest, place, value)))
        try {
          readBundle(path)
        } catch (error) {
          refused++
          expect(error, `${place.join('.')} = ${JSON.stringify(value)}`).toBeInstanceOf(EdgewiseError)
        }
      }),
      { numRuns: 400 },
    )
    expect(refused).toBeGreaterThan(200)
  })
})

/** The place of every value inside a value. */
function placesOf(value: unknown, at: string[]): string[][] {
  const inner = value !== null && typeof value === 'object' ? Object.entries(value) : []
  return [...(at.length > 0 ? [at] : []), ...inner.flatMap(([key, child]) => placesOf(child, [...at, key]))]
}

function replaceAt(manifest: Manifest, place: readonly string[], value: unknown): Manifest {
  const copied = structuredClone(manifest)
  let inner = copied as unknown as Record<string, unknown>
  for (const key of place.slice(0, -1)) inner = inner[key] as Record<string, unknown>
  inner[place[place.length - 1]] = value
  return copied
}

describe('a signature', () => {
  const keys = [0, 1].map(() => generateKeyPairSync('ed25519'))
  const [[priv, pub], [otherPriv, otherPub]] = keys.map(({ privateKey, publicKey }) => [
    privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    publicKey.export({ type: 'spki', format: 'pem' }) as string,
  ])
  const [id, otherId] = keys.map(({ publicKey }) => keyIdOf(publicKey))
  const signed = (name: string, ...pems: string[]): string => {
    const path = copy(name)
    for (const pem of pems) writeSignature(path, pem, 'key')
    return path
  }

  test('of a trusted key is asked for, and found', () => {
    const path = signed('signed', priv)
    expect(readBundle(path, { trust: [otherPub, pub] }).signature).toEqual({
      claimedKeyIds: [id],
      trustedKeyIds: [id],
    })
    expect(readBundle(path).signature).toEqual({ claimedKeyIds: [id], trustedKeyIds: [] })
    expect(readBundle(whole).signature).toBeNull()
  })

  test('of two keys serves either; signing again adds nothing', () => {
    const path = signed('both', priv, otherPriv, priv)
    expect(readBundle(path, { trust: [pub] }).signature?.trustedKeyIds).toEqual([id])
    expect(readBundle(path, { trust: [otherPub] }).signature?.trustedKeyIds).toEqual([otherId])
    expect(readBundle(path).signature?.claimedKeyIds).toEqual([otherId, id])
  })

  test.each<[string, () => string, readonly string[]]>([
    ['is missing', () => copy('unsigned'), [pub]],
    ['is of another key', () => signed('foreign', otherPriv), [pub]],
    ['is asked for of nobody', () => signed('nobody', priv), []],
    [
      'is over the manifest before it was changed and sealed again',
      () => {
        const path = signed('resealed', priv)
        editManifest(path, (manifest) => ({ ...manifest, name: 'resealed' }))
        return path
      },
      [pub],
    ],
    [
      'names the trusted key, but is by another',
      () => {
        const path = signed('lying', otherPriv)
        const text = readFileSync(join(path, SIGNATURE_FILE), 'utf8')
        writeFileSync(join(path, SIGNATURE_FILE), text.replace(otherId, id))
        return path
      },
      [pub],
    ],
  ])('that %s is an IntegrityError', (_what, make, trust) => {
    const path = make()
    expect(() => readBundle(path, { trust })).toThrow(IntegrityError)
    if (trust.length > 0) expect(() => readBundle(path, { trust })).toThrow(new RegExp(`${id}|other bytes`))
  })

  test('covers every file: one that was exchanged with its hash in the manifest is refused', () => {
    const path = signed('exchanged', priv)
    replaceFile(path, 'policy.onnx', readFileSync(join(whole, 'policy.onnx')))
    editManifest(path, (manifest) => ({ ...manifest, policy: { ...manifest.policy, update: 8 } }))
    expect(() => readBundle(path, { trust: [pub] })).toThrow(IntegrityError)
    expect(() => readBundle(path)).toThrow(/other bytes/)
  })

  test('is replaced where the manifest has changed', () => {
    const path = signed('again', otherPriv)
    editManifest(path, (manifest) => ({ ...manifest, name: 'again' }))
    writeSignature(path, priv, 'key')
    expect(readBundle(path, { trust: [pub] }).signature?.claimedKeyIds).toEqual([id])
  })

  test('that is no envelope, or a link out of the bundle, is refused', () => {
    const path = signed('linked', priv)
    writeFileSync(join(path, SIGNATURE_FILE), '{}')
    expect(() => readBundle(path)).toThrow(InputError)
    rmSync(join(path, SIGNATURE_FILE))
    symlinkSync(join(whole, 'manifest.json'), join(path, SIGNATURE_FILE))
    expect(() => readBundle(path, { trust: [pub] })).toThrow(/link that leaves it/)
  })
})

test('a policy.onnx with an operator that is not known is refused, however well it is sealed', () => {
  const path = copy('operator')
  const model = decodeModel(readFileSync(join(whole, 'policy.onnx')))
  const nodes = model.graph.nodes.map((node, i) =>
    i === 0 ? { ...node, domain: 'evil', opType: 'Run' } : node,
  )
  replaceFile(path, 'policy.onnx', encodeModel({ ...model, graph: { ...model.graph, nodes } }))
  expect(() => readBundle(path)).toThrow(/evil::Run/)
})
