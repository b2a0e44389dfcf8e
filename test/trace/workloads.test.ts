import { describe, expect, it } from 'vitest'
import { parseWorkload } from '../../src/trace/import/workload.ts'

const cases: [string, string, number[] | null, number[], number[]][] = [
  [
    'BurstGPT',
    'Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n45.5,ChatGPT,1087,230,1317,API log\n',
    [0, 40.5],
    [472, 1087],
    [18, 230],
  ],
  [
    'Mooncake',
    '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0,1]}\n{"timestamp": 3500, "input_length": 7322, "output_length": 490}\n',
    [0, 3.5],
    [6758, 7322],
    [500, 490],
  ],
  [
    'Azure 2024, offsets, with and without fractions',
    'TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01+00:00,76,15\n2024-05-10 00:00:01.5+00:00,90,7\n',
    [0, 0.99007, 1.49007],
    [2162, 76, 90],
    [5, 15, 7],
  ],
  [
    'Azure with quotes, a byte order mark and CRLF',
    '\ufeffTIMESTAMP,ContextTokens,GeneratedTokens\r\n"2024-05-10 00:00:00.009930","2162",5\r\n"2024-05-10 00:00:00.017335",2399,6\r\n',
    [0, 0.007405],
    [2162, 2399],
    [5, 6],
  ],
  [
    'Vidur, Sarathi',
    'arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,100,10\n1.5,200,20\n',
    [0, 1.5],
    [100, 200],
    [10, 20],
  ],
  [
    'Vidur as Python writes it, with exponents',
    'arrived_at,num_prefill_tokens,num_decode_tokens\n2.5e-05,100,10\n1e1,200,20\n',
    [0, 9.999975],
    [100, 200],
    [10, 20],
  ],
  ['Vidur without times', 'num_prefill_tokens,num_decode_tokens\n100,10\n', null, [100], [10]],
  [
    'ShareGPT',
    JSON.stringify([
      {
        conversations: [
          { from: 'human', value: 'How are you today?' },
          { from: 'gpt', value: 'Fine.' },
        ],
      },
      { conversations: [{ from: 'human', value: 'unanswered' }] },
    ]),
    null,
    [5],
    [1],
  ],
]

describe('recorded requests', () => {
  it.each(cases)('%s', (_, text, arrivals, prompts, outputs) => {
    const read = parseWorkload(text, 'x')
    const rounded = read.arrivalSeconds?.map((seconds) => Math.round(1e6 * seconds) / 1e6)
    expect(rounded === undefined ? null : [...rounded]).toEqual(arrivals)
    expect([...read.promptTokens]).toEqual(prompts)
    expect([...read.outputTokens]).toEqual(outputs)
  })

  it('says what is left out, and what is estimated', () => {
    const [azure] = [cases[2][1] + '2024-05-10 00:00:02+00:00,90,0\n']
    expect(parseWorkload(azure, 'a/b.csv').notes).toEqual([
      'b.csv: 1 of 4 requests have no prompt or no answer and are left out',
    ])
    const notes = parseWorkload(cases.at(-1)![1], 'x').notes.join()
    expect(notes).toMatch(/no times of arrival.*4 characters.*1 of 2 requests/)
    expect(parseWorkload(cases[0][1], 'x').notes).toEqual([])
  })

  it.each([
    ['', /x:1[^]*an empty file/],
    ['time_s,uplink_mbps\n0,1\n', /a recording of a link[^]*--links/],
    ['a,b\n1,2\n', /Azure[^]*nearest[^]*Vidur/],
    ['{"event":"start"}\n', /x:1[^]*nearest: Mooncake/],
    [`${cases[1][1]}{"timestamp": 1}\n`, /x:3[^]*Mooncake/],
    [`${cases[1][1]}{"timestamp": 1, "input_length": 1, "output_length": 1}\n`, /x:3[^]*sort the file/],
    ['[1]', /x: 0[^]*ShareGPT/],
    ['version https://git-lfs.github.com/spec/v1\n', /Git LFS/],
    [cases[4][1].replace('200', '20.5'), /x:3[^]*two token counts/],
  ])('%j is refused', (text, message) => {
    expect(() => parseWorkload(text, 'x')).toThrow(message)
  })
})
