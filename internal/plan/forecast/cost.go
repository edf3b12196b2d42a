package forecast

import (
	"errors"
	"fmt"
)

// Prices are the assumptions behind a cost. All money is in one currency.
type Prices struct {
	Life        float64 `json:"life_years"`      // after which the machine is worth nothing
	Utilisation float64 `json:"utilisation"`     // share of its life in which it generates
	Power       float64 `json:"power_per_kwh"`   //
	Overhead    float64 `json:"power_overhead"`  // cooling and supply: 1.0 is none
	Hosted      float64 `json:"hosted_per_mtok"` // a hosted price for a million tokens, to compare with; 0: none
}

// DefaultPrices are assumptions, each of which a flag changes.
func DefaultPrices() Prices {
	return Prices{Life: 4, Utilisation: 0.2, Power: 0.30, Overhead: 1.2, Hosted: 0.10}
}

// Validate refuses prices that mean nothing.
func (p Prices) Validate() error {
	switch {
	case !(p.Life > 0 && p.Life <= 100):
		return fmt.Errorf("life of %g years, want more than 0", p.Life)
	case !(p.Utilisation > 0 && p.Utilisation <= 1):
		return fmt.Errorf("utilisation of %g, want more than 0 and at most 1", p.Utilisation)
	case !(p.Power >= 0 && p.Power <= 1e6) || !(p.Overhead >= 1 && p.Overhead <= 100) || !(p.Hosted >= 0 && p.Hosted <= 1e9):
		return errors.New("prices must be 0 or more, the power overhead at least 1")
	}
	return nil
}

// Cost is what a million generated tokens come to.
type Cost struct {
	Energy  float64 `json:"joules_per_token"`
	Power   float64 `json:"power_per_mtok"`
	Machine float64 `json:"machine_per_mtok"`
	Total   float64 `json:"total_per_mtok"`

	// BreakEven is the utilisation from which the machine is cheaper than the hosted price; 0:
	// at every one, nil: at none.
	BreakEven *float64 `json:"break_even_utilisation"`
}

// PaysFrom is BreakEven for people.
func (c *Cost) PaysFrom() string {
	switch {
	case c.BreakEven == nil:
		return "never"
	case *c.BreakEven == 0:
		return "always"
	}
	return fmt.Sprintf("%.1f %%", 100**c.BreakEven)
}

const (
	hoursPerYear   = 8766.0
	joulesPerKWh   = 3.6e6
	secondsPerHour = 3600.0
)

// Cost is what tokens cost at a rate per second. A machine that waits draws its idle power,
// which the tokens that it does generate pay for too; storageJoules is what fetching a
// token's row takes beside that.
func (m *Machine) Cost(tokensPerSecond, storageJoules float64, p Prices) (Cost, error) {
	if err := p.Validate(); err != nil {
		return Cost{}, fmt.Errorf("forecast cost: %w", err)
	}
	if !(tokensPerSecond > 0) {
		return Cost{}, fmt.Errorf("forecast cost: %g tokens per second", tokensPerSecond)
	}
	c := Cost{}
	idle := m.IdleWatts * (1 - p.Utilisation) / p.Utilisation // for each second of generating
	c.Energy = (m.BusyWatts+idle)/tokensPerSecond + storageJoules
	c.Power = c.Energy * 1e6 / joulesPerKWh * p.Power * p.Overhead
	c.Machine = m.Price / (p.Life * hoursPerYear * secondsPerHour * p.Utilisation) / tokensPerSecond * 1e6
	c.Total = c.Power + c.Machine
	c.BreakEven = m.breakEven(tokensPerSecond, storageJoules, p)
	return c, nil
}

// breakEven is the utilisation at which Total is the hosted price. Both the price of the
// machine and its idle power are spread over utilisation u: Total(u) = a + b/u. nil: at none.
func (m *Machine) breakEven(tps, storage float64, p Prices) *float64 {
	perJoule := 1e6 / joulesPerKWh * p.Power * p.Overhead
	a := ((m.BusyWatts-m.IdleWatts)/tps + storage) * perJoule
	b := m.IdleWatts/tps*perJoule + m.Price/(p.Life*hoursPerYear*secondsPerHour)/tps*1e6
	if p.Hosted <= a {
		return nil
	}
	if u := b / (p.Hosted - a); u <= 1 {
		return &u
	}
	return nil
}
