import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ConnectionError } from '../../../src/run/wire/errors.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { idsFrame, jsonFrame, readIds, readJson } from '../../../src/run/wire/payloads.ts'
import { makeFrame } from '../../../src/run/wire/frame.ts'
import { readRefusal, refusalFrame, refusalOf } from '../../../src/run/wire/payloads.ts'

const asJson = (text: string | Uint8Array): ReturnType<typeof makeFrame> =>
  makeFrame(FRAME.fail, { payload: typeof text === 'string' ? new TextEncoder().encode(text) : text })

describe('payloads', () => {
  it('carry token ids, four bytes each', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(0xffffffff)), (ids) => {
        const frame = idsFrame(ids, { position: 4 })
        expect(frame).toMatchObject({ type: FRAME.ids, count: ids.length, position: 4 })
        expect(frame.payload).toHaveLength(4 * ids.length)
        expect([...readIds(frame)]).toEqual(ids)
      }),
    )
  })

  it.each([-1, 0.5, 2 ** 32, NaN])('refuse %d as a token id', (id) => {
    expect(() => idsFrame([1, id])).toThrow('token id 1')
  })

  it('refuse a count that is not that of the ids', () => {
    expect(() => readIds({ ...idsFrame([1, 2]), count: 0xffffffff })).toThrow('found: 8 bytes')
  })

  it('carry JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(readJson(jsonFrame(FRAME.plan, value))).toEqual(JSON.parse(JSON.stringify(value)))
      }),
    )
    expect(readJson(jsonFrame(FRAME.plan, undefined))).toBeNull()
  })

  it.each(['', '{', '{"a":}', Uint8Array.of(0x22, 0xff, 0x22)])('refuse %j as JSON', (text) => {
    expect(() => readJson(asJson(text))).toThrow(expect.objectContaining({ code: 'E_WIRE_PAYLOAD' }))
  })

  it('carry a reason without control characters, and not without end', () => {
    const refusal = { code: 'E_X', message: `a\n\u001b[2Jb\u202e\u0007\u2028${'y'.repeat(9000)}` }
    const { code, message } = readRefusal(refusalFrame(FRAME.fail, refusal))
    expect(code).toBe('E_X')
    expect(message.startsWith('a\n?[2Jb???yyy')).toBe(true)
    expect(message).toHaveLength(4096)
  })

  it.each(['null', '[]', '{"code":"x","message":""}', '{"code":"E_A","message":1}'])(
    'refuse %s as a reason',
    (text) => {
      expect(() => readRefusal(asJson(text))).toThrow(expect.objectContaining({ code: 'E_WIRE_PAYLOAD' }))
    },
  )

  it('tell of an error what may be told', () => {
    const known = new ConnectionError('E_CONNECTION_SLOW', 'slow')
    expect(refusalOf(known)).toEqual({ code: 'E_CONNECTION_SLOW', message: 'slow' })
    expect(refusalOf(new TypeError('inside'))).toEqual({ code: 'E_INTERNAL', message: 'an internal error' })
  })
})
