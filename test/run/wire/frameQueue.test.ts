import { describe, expect, it } from 'vitest'
import { FRAME } from '../../../src/run/wire/types.ts'
import { makeFrame } from '../../../src/run/wire/frame.ts'
import { FrameQueue } from '../../../src/run/wire/frameQueue.ts'

const ended = { kind: 'ended', message: 'bye' } as const

/** An inbox with frames 1 and 2 waiting, and what its listeners hear. */
function waiting(): { inbox: FrameQueue; heard: unknown[]; onFrame: () => void; onClose: () => void } {
  const inbox = new FrameQueue(1000)
  const heard: unknown[] = []
  for (const position of [1, 2]) inbox.deliver(makeFrame(FRAME.close, { position }))
  return {
    inbox,
    heard,
    onFrame: () => inbox.onFrame((frame) => heard.push(frame.position)),
    onClose: () => inbox.onClose((reason) => heard.push(reason.kind)),
  }
}

describe('an inbox', () => {
  it('keeps what came before the end for listeners that come after it', () => {
    const { inbox, heard, onFrame, onClose } = waiting()
    inbox.close(ended)
    onFrame()
    onClose()
    expect(heard).toEqual([1, 2, 'ended'])
  })

  it('delivers no frame once the end was heard of', () => {
    const early = waiting()
    early.onClose()
    early.inbox.close(ended)
    early.onFrame()
    expect(early.heard).toEqual(['ended'])
    const late = waiting()
    late.inbox.close(ended)
    late.onClose()
    late.onFrame()
    expect(late.heard).toEqual(['ended'])
  })

  it('stops where a listener ends it', () => {
    const { inbox, heard } = waiting()
    inbox.onFrame((frame) => {
      heard.push(frame.position)
      inbox.stop()
    })
    expect(heard).toEqual([1])
  })
})
