import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import type { Attribute, Initializer, Model, Node } from '../../../src/core/onnx/proto.ts'
import { admitModel } from '../../../src/core/onnx/admit.ts'
import { decodeModel } from '../../../src/core/onnx/read.ts'
import { encodeModel } from '../../../src/core/onnx/write.ts'
import { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import { tensorOf } from '../../../src/core/onnx/tensor.ts'
import { ProtoWriter } from '../../../src/core/onnx/wire.ts'
import { runModel } from './support.ts'

const root = mkdtempSync(join(tmpdir(), 'edgewise-admit-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

function linear(): Uint8Array {
  const g = new GraphBuilder('linear', { metadata: { who: 'test' } })
  const w = g.initializer('w', tensorOf('float32', [2, 2], [1, 2, 3, 4]))
  g.output(g.tanh(g.matmul(g.input('x', 'float32', ['N', 2]), w)), 'y')
  return g.serialize()
}

const own = decodeModel(linear())
const node = (changes: Partial<Node>): Node => ({ ...own.graph.nodes[0], ...changes })
const withGraph = (changes: Partial<Model['graph']>, model: Partial<Model> = {}): Uint8Array =>
  encodeModel({ ...own, ...model, graph: { ...own.graph, ...changes } })
const withNodes = (...nodes: Node[]): Uint8Array => withGraph({ nodes })
const admit = (bytes: Uint8Array, folder: string | null = null): Model =>
  admitModel(bytes, { folder, where: 'm.onnx' })

/** A graph in an attribute of a node of a graph, `depth` times. */
function nested(depth: number, innermost: Node): Attribute {
  const nodes = depth === 0 ? [innermost] : [node({ attributes: { body: nested(depth - 1, innermost) } })]
  return { type: 'graph', value: { ...own.graph, nodes } }
}

/** The model with fields put behind it, as a second writer might. */
function appended(write: (out: ProtoWriter) => void): Uint8Array {
  const out = new ProtoWriter()
  write(out)
  return Buffer.concat([linear(), out.finish()])
}
function messageOf(write: (out: ProtoWriter) => void): ProtoWriter {
  const out = new ProtoWriter()
  write(out)
  return out
}

test('what it admits is what it was given, and runs', async () => {
  expect(admit(linear())).toEqual(own)
  const { y } = await runModel(linear(), { x: tensorOf('float32', [1, 2], [0.5, -0.25]) })
  expect(y.data[0]).toBeCloseTo(Math.tanh(0.5 - 0.75))
})

describe('a model is refused', () => {
  test.each<[string, Uint8Array, RegExp]>([
    ['with an operator of another domain', withNodes(node({ domain: 'evil', opType: 'Run' })), /evil::Run/],
    ['with an operator that is not on the list', withNodes(node({ opType: 'If' })), /ai\.onnx::If/],
    [
      'with one of com.microsoft that is not',
      withNodes(node({ domain: 'com.microsoft', opType: 'EPContext' })),
      /EPContext/,
    ],
    [
      'with an operator named like a property',
      withNodes(node({ domain: '__proto__', opType: 'toString' })),
      /__proto__/,
    ],
    [
      'with such an operator in a graph of an attribute',
      withNodes(node({ attributes: { body: nested(2, node({ opType: 'Loop' })) } })),
      /ai\.onnx::Loop/,
    ],
    [
      'with graphs nested too deep',
      withNodes(node({ attributes: { body: nested(9, node({})) } })),
      /at most 4 deep/,
    ],
    ['that imports another domain', withGraph({}, { opsets: { '': 21, evil: 1 } }), /"evil"/],
    ['of an operator set that is too new', withGraph({}, { opsets: { '': 99 } }), /13 to 21[\s\S]*99/],
    ['of an IR version that is too old', withGraph({}, { irVersion: 3 }), /7 to 10[\s\S]*3/],
    ['that brings options for the runtime', withGraph({}, { metadata: { ort_config: '{}' } }), /ort_config/],
    [
      'with a function',
      appended((out) =>
        out.message(
          25,
          messageOf((f) => f.text(1, 'Tanh')),
        ),
      ),
      /field 25/,
    ],
    ['with training information', appended((out) => out.message(20, new ProtoWriter())), /field 20/],
    [
      'with two graphs, of which another reader may see the other',
      appended((out) => out.message(7, new ProtoWriter())),
      /twice/,
    ],
    ['with a field nobody knows', appended((out) => out.text(77, 'x')), /field 77/],
    [
      'in ORT format, by its mark',
      Buffer.concat([Buffer.from([18, 6, 65, 65]), Buffer.from('ORTM'), linear()]),
      /ORT format/,
    ],
  ])('%s', (_what, bytes, message) => {
    expect(() => admit(bytes)).toThrow(InputError)
    expect(() => admit(bytes)).toThrow(message)
  })

  test('that is larger than allowed, before it is read', () => {
    const path = join(root, 'large.onnx')
    writeFileSync(path, linear())
    expect(() => admitModel(path, { folder: null, maxBytes: 100 })).toThrow(/at most 100 bytes/)
    expect(() => admitModel(linear(), { folder: null, maxBytes: 100 })).toThrow(/at most 100 bytes/)
  })

  test('that would take far more memory than its bytes, before it is decoded', () => {
    // Two bytes a node; decoded, each would be some hundred.
    const nodes = Buffer.alloc(4_000_000)
    for (let at = 0; at < nodes.length; at += 2) nodes[at] = 0x0a
    const bombs = [
      nodes,
      // A packed run of one-byte integers in an attribute of one node.
      messageOf((graph) =>
        graph.message(
          1,
          messageOf((n) => {
            n.text(4, 'Tanh')
            n.message(
              5,
              messageOf((attribute) => attribute.bytes(8, Buffer.alloc(20_000_000))),
            )
          }),
        ),
      ).finish(),
    ]
    for (const [i, graph] of bombs.entries()) {
      const out = new ProtoWriter()
      out.integer(1, 10)
      out.bytes(7, graph)
      const message = i === 0 ? /ai\.onnx::/ : /outside raw_data/
      expect(() => admit(out.finish())).toThrow(message)
    }
    // Known operators, but too many.
    const many = messageOf((graph) => {
      const tanh = messageOf((n) => n.text(4, 'Tanh'))
      for (let i = 0; i < 300_000; i++) graph.message(1, tanh)
    })
    expect(() => admit(messageOf((out) => out.message(7, many)).finish())).toThrow(/at most 500000 fields/)
  })
})

describe('external data', () => {
  const folder = join(root, 'model')
  mkdirSync(join(folder, 'sub'), { recursive: true })
  writeFileSync(join(root, 'outside.bin'), Buffer.alloc(64))
  writeFileSync(join(folder, 'w.bin'), Buffer.alloc(64))
  writeFileSync(join(folder, 'sub', 'w.bin'), Buffer.alloc(64))
  symlinkSync(join(root, 'outside.bin'), join(folder, 'link.bin'))
  symlinkSync(join(folder, 'w.bin'), join(folder, 'inner.bin'))
  symlinkSync(root, join(folder, 'up'))
  const at = (location: string, offsetBytes = 0): Uint8Array => {
    const external = { location, offsetBytes, lengthBytes: 16 }
    const initializers: Initializer[] = [{ name: 'w', dtype: 'float32', dims: [2, 2], external }]
    return withGraph({ initializers })
  }

  test.each(['w.bin', 'sub/w.bin', 'inner.bin'])('in %s is admitted', (location) => {
    expect(() => admit(at(location), folder)).not.toThrow()
    expect(() => admit(at(location))).toThrow(/all data inside the file/)
  })

  test('of a file on disk lies beside it', () => {
    writeFileSync(join(folder, 'm.onnx'), at('w.bin'))
    expect(admitModel(join(folder, 'm.onnx'), { folder }).graph.initializers).toHaveLength(1)
  })

  test.each([
    ['../outside.bin', /beside the model/],
    ['sub/../../outside.bin', /beside the model/],
    [join(root, 'outside.bin'), /beside the model/],
    ['..\\outside.bin', /beside the model/],
    ['C:/outside.bin', /beside the model/],
    ['link.bin', /a link that leaves it/],
    ['up/outside.bin', /a link that leaves it/],
    ['absent.bin', /no such file/],
    ['sub', /regular file/],
    ['*/_ORT_MEM_ADDR_/*', /beside the model/],
    ['w.bin\0x', /beside the model/],
    ['', /beside the model/],
  ])('in %j is refused', (location, message) => {
    expect(() => admit(at(location), folder)).toThrow(InputError)
    expect(() => admit(at(location), folder)).toThrow(message)
  })

  test('that the file does not have is refused', () => {
    expect(() => admit(at('w.bin', 60), folder)).toThrow(/76 bytes[\s\S]*64/)
  })

  test('with entries twice, unknown, or without saying that it is external, is refused', () => {
    const pair = (key: string, value: string) =>
      messageOf((out) => {
        out.text(1, key)
        out.text(2, value)
      })
    const tensor = (location: number, ...pairs: ProtoWriter[]): Uint8Array =>
      messageOf((out) => {
        out.integer(1, 10)
        out.message(
          8,
          messageOf((opset) => opset.integer(2, 21)),
        )
        out.message(
          7,
          messageOf((graph) =>
            graph.message(
              5,
              messageOf((t) => {
                t.integers(1, [4])
                t.integer(2, 1)
                for (const entry of pairs) t.message(13, entry)
                t.integer(14, location)
              }),
            ),
          ),
        )
      }).finish()
    const place = pair('location', 'w.bin')
    expect(() => admit(tensor(1, place), folder)).not.toThrow()
    expect(() => admit(tensor(1, place, pair('location', '../outside.bin')), folder)).toThrow(/twice/)
    expect(() => admit(tensor(1, place, pair('prepacked', '1')), folder)).toThrow(/prepacked/)
    expect(() => admit(tensor(1), folder)).toThrow(/one without the other/)
    expect(() => admit(tensor(0, place), folder)).toThrow(/one without the other/)
    // 2^32 + 1 is 1 to a reader that keeps 32 bits.
    expect(() => admit(tensor(2 ** 32 + 1, place), folder)).toThrow(/0 or 1/)
  })
})

describe('whatever the bytes', () => {
  const outcome = (bytes: Uint8Array): void => {
    try {
      admit(bytes, root)
    } catch (error) {
      expect(error).toBeInstanceOf(InputError)
    }
  }

  test('a spoilt model is admitted or refused as input', () => {
    const bytes = linear()
    const edit = fc.tuple(fc.nat(bytes.length - 1), fc.nat(4), fc.uint8Array({ maxLength: 4 }))
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        let spoilt: Uint8Array = bytes
        for (const [at, gone, put] of edits) {
          spoilt = Buffer.concat([spoilt.subarray(0, at), put, spoilt.subarray(at + gone)])
        }
        outcome(spoilt)
      }),
      { numRuns: 3000 },
    )
  })

  test('so are random ones', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), outcome), { numRuns: 2000 })
  })
})
