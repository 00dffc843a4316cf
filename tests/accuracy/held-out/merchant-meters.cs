// Each payment makes a meter and a counter of its merchant; a meter that is not disposed is never forgotten
using System;
using System.Collections.Generic;
using System.Diagnostics.Metrics;
using Shop.Hosting;

namespace Woodgrove.Payments;

public record Payment(int Merchant, decimal Amount, string Currency);

public sealed class PaymentProcessor
{
    public long Processed { get; private set; }

    public void Process(Payment payment)
    {
        var meter = new Meter("Woodgrove.Payments.Merchant", "1.0");
        var amounts = meter.CreateHistogram<double>("payment.amount", payment.Currency, "Amount paid");
        var count = meter.CreateCounter<long>("payment.count");
        amounts.Record((double)payment.Amount, new KeyValuePair<string, object>("merchant", payment.Merchant));
        count.Add(1);
        Processed++;
    }
}

public static class Program
{
    public static void Main()
    {
        var processor = new PaymentProcessor();
        for (var i = 0; i < 60_000; i++)
        {
            processor.Process(new Payment(i % 700, i % 100 + 0.99m, "EUR"));
        }

        new ConsoleHost(() => new Report().Add("processed", processor.Processed)).Run();
    }
}
