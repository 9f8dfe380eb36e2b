"""The identities of the course, each by enumeration or by a loop written out, to 1e-10 in float64.

A test that proves an identity says which: its name begins with ``test_i<number>`` (statements), ``test_a<number>``
(derivations) or ``test_c<number>`` (checks of systems 2 and 3). The line at the end of a run counts them.

I0   base rate               I11  composition            A1   Bayes per step
I1   Bayes per step          I12  pools                  A2   likelihood finds it
I2   telescoping product     I14  boosting               A3   ceiling per position
I3   the normaliser          I15  frozen base            A4   first step
I4   local and global        I16  decoding               A5   guidance
I5   identifiability         I17  null test              A6   error of a sum
I6   zero start              I18  solvable keywords      A7   local over global
I7   information ceiling     I19  SLOR                   A8   I-projection
I8   the dial λ              I20  scoring a text         A9   two rules for weights
I9   order of operations     I21  control tax            A10  hidden space
I10  special cases           C1   meta-gradient          A11  break-even
C2   weighted tasks          C3   label space            A12  keywords in pieces
"""
